// What people's programs do with nostr-tools, against one endpoint.
//
//   node stranger.mjs SCENARIO URL [PRIVATE KEY, or what is wanted]
//
// Prints what it saw as one JSON object; the Python test judges it. Exits by itself.

import {AbstractRelay} from 'nostr-tools/abstract-relay'
import {SimplePool, useWebSocketImplementation} from 'nostr-tools/pool'
import {
  finalizeEvent,
  generateSecretKey,
  getPublicKey,
  verifyEvent
} from 'nostr-tools/pure'
import WebSocket from 'ws'

/** A WebSocket as browsers have it: no `ping`, no `once`. */
class BrowserSocket {
  static OPEN = WebSocket.OPEN
  #socket

  constructor(url) {
    this.#socket = new WebSocket(url)
    for (const name of ['open', 'error', 'close', 'message']) {
      this.#socket[`on${name}`] = event => this[`on${name}`]?.(event)
    }
  }

  get readyState() {
    return this.#socket.readyState
  }

  send(text) {
    this.#socket.send(text)
  }

  close() {
    this.#socket.close()
  }
}

const [name, url, more] = process.argv.slice(2)
const secret =
  name === 'sign-in'
    ? Uint8Array.from(Buffer.from(more, 'hex'))
    : generateSecretKey()
const author = getPublicKey(secret)

function note(content, fields = {}) {
  const created_at = Math.floor(Date.now() / 1000)
  return finalizeEvent(
    {kind: 1, created_at, tags: [], content, ...fields},
    secret
  )
}

/** Subscribe, publish, and see the event come back live, once. */
async function roundTrip(pool, url) {
  const seen = []
  let eoses = 0
  const sent = note('from a stranger')
  let arrived
  const arrival = new Promise(resolve => (arrived = resolve))
  await new Promise(resolve => {
    pool.subscribe(
      [url],
      {authors: [author]},
      {
        onevent(event) {
          seen.push(event)
          arrived()
        },
        oneose() {
          eoses += 1
          resolve()
        }
      }
    )
  })
  const before = Date.now()
  const reason = await pool.publish([url], sent)[0]
  const milliseconds = Date.now() - before
  await arrival
  return {sent, seen, eoses, reason, milliseconds}
}

/** The newest version of a profile, as every app looks it up: `limit: 1`. */
async function lookUp(pool, url) {
  const now = Math.floor(Date.now() / 1000)
  for (const [name, age] of [
    ['old', 60],
    ['new', 0]
  ]) {
    const profile = note(JSON.stringify({name}), {
      kind: 0,
      created_at: now - age
    })
    await pool.publish([url], profile)[0]
  }
  const before = Date.now()
  const found = await pool.get([url], {kinds: [0], authors: [author]})
  const milliseconds = Date.now() - before
  const missing = await pool.get([url], {kinds: [3], authors: [author]})
  const by_id = await pool.get([url], {ids: [found.id]})
  return {found, missing, by_id, milliseconds}
}

/** A publish that is refused rejects with the reason. */
async function refusal(pool, url) {
  try {
    await pool.publish(
      [url],
      note('too late', {tags: [['expiration', '1']]})
    )[0]
  } catch (error) {
    return {reason: error.message ?? String(error)}
  }
  return {reason: null}
}

/** Subscriptions closed by the caller are closed, and the connection serves on. */
async function closing(pool, url) {
  const reasons = []
  for (let number = 0; number < 5; number++) {
    await new Promise(resolve => {
      const sub = pool.subscribe(
        [url],
        {kinds: [1], authors: [author]},
        {
          oneose: () => sub.close('enough'),
          onclose(given) {
            reasons.push(given)
            resolve()
          }
        }
      )
    })
  }
  const found = await pool.querySync([url], {kinds: [1], authors: [author]})
  return {reasons, found: found.length}
}

/** nostr-tools' own sign-of-life check, many times over on one connection. */
async function ping(url, implementation) {
  const relay = new AbstractRelay(url, {
    verifyEvent,
    websocketImplementation: implementation,
    enablePing: true
  })
  relay.pingTimeout = 3_000
  let closed = false
  relay.onclose = () => (closed = true)
  await relay.connect()
  const milliseconds = []
  for (let number = 0; number < 10; number++) {
    const before = Date.now()
    await relay.pingpong()
    milliseconds.push(Date.now() - before)
  }
  const alive = relay.connected && !closed
  relay.close()
  return {alive, milliseconds}
}

/** Publish, also what is for its author only, and read, signing in where asked to. */
async function signIn(pool, url) {
  const onauth = async template => finalizeEvent(template, secret)
  const reasons = []
  const open = note('from somebody known')
  for (const event of [open, note('from me only', {tags: [['-']]})]) {
    await pool.publish([url], event, {onauth})[0].then(
      () => reasons.push(null),
      error => reasons.push(error.message ?? String(error))
    )
  }
  const ended = []
  const found = await new Promise(resolve => {
    const seen = []
    const sub = pool.subscribe(
      [url],
      {ids: [open.id]},
      {
        onauth,
        onevent: event => seen.push(event.id),
        oneose: () => resolve(seen),
        onclose: given => ended.push(...given)
      }
    )
  })
  return {reasons, found: found.length, ended}
}

/** What is stored for each of these REQs, in the order it comes. */
async function newest(_, url, wanted) {
  const relay = new AbstractRelay(url, {
    verifyEvent,
    websocketImplementation: WebSocket
  })
  await relay.connect()
  const found = {}
  for (const [name, filters] of Object.entries(JSON.parse(wanted))) {
    found[name] = []
    await new Promise(resolve => {
      const sub = relay.subscribe(filters, {
        eoseTimeout: 20_000,
        onevent: event => found[name].push(event.id),
        oneose() {
          sub.close()
          resolve()
        }
      })
    })
  }
  relay.close()
  return found
}

const scenarios = {
  newest,
  'round-trip': roundTrip,
  'look-up': lookUp,
  refusal,
  closing,
  'sign-in': signIn,
  'ping-socket': (_, url) => ping(url, WebSocket),
  'ping-browser': (_, url) => ping(url, BrowserSocket)
}

useWebSocketImplementation(WebSocket)
const pool = new SimplePool()
console.log(JSON.stringify(await scenarios[name](pool, url, more)))
pool.destroy()
