// An outside wallet, made of @getalby/sdk, that does what it is told.
//
//   node outside_wallet.mjs
//
// Reads JSON lines: first {uri}, the connection string, then orders, {id, method, params,
// patience}. Prints one JSON line for each, as soon as the SDK has told its caller:
// {id, result} or {id, error: {name, code, message}}. Ends when its input does.

import {createInterface} from 'node:readline'
import WebSocket from 'ws'

// Node has its own from version 22 on, and the SDK takes what is there when it is loaded.
Object.assign(globalThis, {WebSocket})
const {NWCClient} = await import('@getalby/sdk/nwc')

// The SDK and its libraries print to both; only answers may be on standard output.
console.log = console.debug = console.info = console.error

/**
 * @typedef {import('@getalby/sdk/nwc').NWCClient} Client
 * @typedef {{id: number, method: string, params: any, patience?: number}} Order
 */

/** @type {Record<string, (client: Client, params: any) => Promise<unknown>>} */
const calls = {
  get_info: client => client.getInfo(),
  get_balance: client => client.getBalance(),
  pay_invoice: (client, params) => client.payInvoice(params),
  lookup_invoice: (client, params) => client.lookupInvoice(params)
}

/** @param {{id: number, result: unknown} | {id: number, error: unknown}} answer */
function say(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}

/**
 * As the calls above do it, but with less patience than their ten or sixty seconds.
 * @param {Client} client
 * @param {Order} order
 */
function impatient(client, {method, params, patience}) {
  const limits = {replyTimeout: patience}
  return client['executeNip47Request'](
    method,
    params,
    (/** @type {unknown} */ result) => !!result,
    limits
  )
}

/**
 * @param {Client} client
 * @param {Order} order
 */
async function tell(client, order) {
  const {id, method, params, patience} = order
  try {
    const result = patience
      ? await impatient(client, order)
      : await calls[method](client, params)
    say({id, result})
  } catch (error) {
    const {constructor, code, message} =
      /** @type {Error & {code?: string}} */ (error)
    say({id, error: {name: constructor.name, code, message}})
  }
}

/** @type {Client | undefined} */
let client
for await (const line of createInterface({input: process.stdin})) {
  const order = JSON.parse(line)
  if (client) {
    tell(client, order)
  } else {
    client = new NWCClient({nostrWalletConnectUrl: order.uri})
  }
}
// Whatever the SDK still waits for.
process.exit(0)
