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

/**
 * What nostr-tools asks for. Ours do not have all that a browser's has.
 * @typedef {typeof globalThis.WebSocket} Implementation
 * @typedef {((event: any) => void) | null} Listener
 * @typedef {{url: string, reason: string}} Closed
 * @typedef {import('nostr-tools/pure').Event} Event
 */

/** A WebSocket as browsers have it: no `ping`, no `once`. */
class BrowserSocket {
  static OPEN = WebSocket.OPEN
  #socket
  /** @type {Listener} */
  onopen = null
  /** @type {Listener} */
  onerror = null
  /** @type {Listener} */
  onclose = null
  /** @type {Listener} */
  onmessage = null

  /** @param {string} url */
  constructor(url) {
    this.#socket = new WebSocket(url)
    this.#socket.onopen = event => this.onopen?.(event)
    this.#socket.onerror = event => this.onerror?.(event)
    this.#socket.onclose = event => this.onclose?.(event)
    this.#socket.onmessage = event => this.onmessage?.(event)
  }

  get readyState() {
    return this.#socket.readyState
  }

  /** @param {string} text */
  send(text) {
    this.#socket.send(text)
  }

  close() {
    this.#socket.close()
  }
}

const [scenario, endpoint, more] = process.argv.slice(2)
const secret =
  scenario === 'sign-in'
    ? Uint8Array.from(Buffer.from(more, 'hex'))
    : generateSecretKey()
const author = getPublicKey(secret)
const usual = /** @type {Implementation} */ (/** @type {unknown} */ (WebSocket))

/**
 * What a caller is told.
 * @param {any} error
 * @returns {string}
 */
const told = error => error.message ?? String(error)

/**
 * @param {string} content
 * @param {Partial<import('nostr-tools/pure').EventTemplate>} fields
 */
function note(content, fields = {}) {
  const created_at = Math.floor(Date.now() / 1000)
  return finalizeEvent(
    {kind: 1, created_at, tags: [], content, ...fields},
    secret
  )
}

/**
 * Subscribe, publish, and see the event come back live, once.
 * @param {SimplePool} pool
 * @param {string} url
 */
async function roundTrip(pool, url) {
  /** @type {Event[]} */
  const seen = []
  let eoses = 0
  const sent = note('from a stranger')
  /** @type {() => void} */
  let arrived
  /** @type {Promise<void>} */
  const arrival = new Promise(resolve => {
    arrived = resolve
  })
  /** @type {Promise<void>} */
  const stored = new Promise(resolve => {
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
  await stored
  const before = Date.now()
  const reason = await pool.publish([url], sent)[0]
  const milliseconds = Date.now() - before
  await arrival
  return {sent, seen, eoses, reason, milliseconds}
}

/**
 * The newest version of a profile, as every app looks it up: `limit: 1`.
 * @param {SimplePool} pool
 * @param {string} url
 */
async function lookUp(pool, url) {
  const now = Math.floor(Date.now() / 1000)
  for (const [name, age] of Object.entries({old: 60, new: 0})) {
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
  const by_id = found && (await pool.get([url], {ids: [found.id]}))
  return {found, missing, by_id, milliseconds}
}

/**
 * A publish that is refused rejects with the reason.
 * @param {SimplePool} pool
 * @param {string} url
 */
async function refusal(pool, url) {
  try {
    await pool.publish(
      [url],
      note('too late', {tags: [['expiration', '1']]})
    )[0]
  } catch (error) {
    return {reason: told(error)}
  }
  return {reason: null}
}

/**
 * Subscriptions closed by the caller are closed, and the connection serves on.
 * @param {SimplePool} pool
 * @param {string} url
 */
async function closing(pool, url) {
  /** @type {Closed[][]} */
  const reasons = []
  for (let number = 0; number < 5; number++) {
    /** @type {Promise<void>} */
    const closed = new Promise(resolve => {
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
    await closed
  }
  const found = await pool.querySync([url], {kinds: [1], authors: [author]})
  return {reasons, found: found.length}
}

/**
 * nostr-tools' own sign-of-life check, many times over on one connection.
 * @param {string} url
 * @param {unknown} implementation
 */
async function ping(url, implementation) {
  const relay = new AbstractRelay(url, {
    verifyEvent,
    websocketImplementation: /** @type {Implementation} */ (implementation),
    enablePing: true
  })
  relay.pingTimeout = 3_000
  let closed = false
  relay.onclose = () => (closed = true)
  await relay.connect()
  const milliseconds = []
  for (let number = 0; number < 10; number++) {
    const before = Date.now()
    await relay['pingpong']() // private: it waits half a minute otherwise
    milliseconds.push(Date.now() - before)
  }
  const alive = relay.connected && !closed
  relay.close()
  return {alive, milliseconds}
}

/**
 * Publish, also what is for its author only, and read, signing in where asked to.
 * @param {SimplePool} pool
 * @param {string} url
 */
async function signIn(pool, url) {
  const onauth = async (
    /** @type {import('nostr-tools/pure').EventTemplate} */ template
  ) => finalizeEvent(template, secret)
  /** @type {(string | null)[]} */
  const reasons = []
  const open = note('from somebody known')
  for (const event of [open, note('from me only', {tags: [['-']]})]) {
    await pool.publish([url], event, {onauth})[0].then(
      () => reasons.push(null),
      error => reasons.push(told(error))
    )
  }
  /** @type {Closed[]} */
  const ended = []
  const found = await new Promise(resolve => {
    /** @type {string[]} */
    const seen = []
    pool.subscribe(
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

/**
 * What is stored for each of these REQs, in the order it comes.
 * @param {SimplePool} _
 * @param {string} url
 * @param {string} wanted Filters by the REQ's name, as JSON.
 */
async function newest(_, url, wanted) {
  const relay = new AbstractRelay(url, {
    verifyEvent,
    websocketImplementation: usual
  })
  await relay.connect()
  /** @type {Record<string, string[]>} */
  const found = {}
  for (const [name, filters] of Object.entries(JSON.parse(wanted))) {
    /** @type {string[]} */
    const ids = (found[name] = [])
    /** @type {Promise<void>} */
    const stored = new Promise(resolve => {
      const sub = relay.subscribe(filters, {
        eoseTimeout: 20_000,
        onevent: event => ids.push(event.id),
        oneose() {
          sub.close()
          resolve()
        }
      })
    })
    await stored
  }
  relay.close()
  return found
}

/** @type {Record<string, (pool: SimplePool, url: string, more: string) => unknown>} */
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

useWebSocketImplementation(usual)
const pool = new SimplePool()
console.log(JSON.stringify(await scenarios[scenario](pool, endpoint, more)))
pool.destroy()
