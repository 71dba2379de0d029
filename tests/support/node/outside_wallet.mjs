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
globalThis.WebSocket = WebSocket
const {NWCClient} = await import('@getalby/sdk/nwc')

// The SDK and its libraries print to both; only answers may be on standard output.
console.log = console.debug = console.info = console.error

const {stdout} = process
const calls = {
  get_info: client => client.getInfo(),
  get_balance: client => client.getBalance(),
  pay_invoice: (client, params) => client.payInvoice(params),
  lookup_invoice: (client, params) => client.lookupInvoice(params)
}

/** As the calls above do it, but with less patience than their ten or sixty seconds. */
function impatient(client, {method, params, patience}) {
  const limits = {replyTimeout: patience}
  return client.executeNip47Request(method, params, result => !!result, limits)
}

async function tell(client, order) {
  const {id, method, params, patience} = order
  try {
    const result = patience
      ? await impatient(client, order)
      : await calls[method](client, params)
    stdout.write(JSON.stringify({id, result}) + '\n')
  } catch (error) {
    const {constructor, code, message} = error
    const told = {name: constructor.name, code, message}
    stdout.write(JSON.stringify({id, error: told}) + '\n')
  }
}

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
