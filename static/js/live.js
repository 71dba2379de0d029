// What the page knows, and where it comes from.
//
// `store` is the one place for what is shown live. It is filled from a WebSocket, about
// once a second; by asking every few seconds where no WebSocket gets through; and by
// nothing at all while nobody looks. Everything else on the page reads it, and changes
// things on the server with `call`.

Nostrclient.prefix = window.location.pathname.split('/nostrclient')[0]
Nostrclient.api = `${Nostrclient.prefix}/nostrclient/api/v1`

Nostrclient.store = Vue.reactive({
  loaded: false,
  problem: '', // why there is no live data
  polling: false,
  now: Date.now() / 1000, // by the server's clock
  state: null,
  relays: [],
  attention: [],
  clients: {total: 0, clients: []},
  history: [] // [second, received, delivered, published]
})

Nostrclient.call = async (method, path, data) => {
  const url = Nostrclient.api + path
  const response = await LNbits.api.request(method, url, null, data)
  return response.data
}

// Does something for the owner. What goes wrong is shown to him. Whether it worked.
Nostrclient.act = async work => {
  try {
    await work()
    return true
  } catch (error) {
    LNbits.utils.notifyApiError(error)
    return false
  }
}

Nostrclient.reason = error => {
  const {status, data} = error.response ?? {}
  if (status === 401)
    return 'You are logged out. Log in and open the page again.'
  const detail = data?.detail
  if (typeof detail === 'string') return detail
  if (detail?.[0]?.msg) return detail.map(({msg}) => msg).join(', ')
  return status
    ? `The server answers with an error (${status}).`
    : 'This server cannot be reached.'
}

Nostrclient.wsBase = () =>
  window.location.origin.replace(/^http/, 'ws') + Nostrclient.prefix

Nostrclient.Feed = class {
  static HISTORY_SECONDS = 300
  static SILENCE_MS = 30_000 // the server says something every ten seconds
  static POLL_MS = 3_000
  static RETRY_MS = [500, 1_000, 2_000, 5_000] // until the next WebSocket
  static FAILURES = 2 // before the page asks instead
  static UPGRADE_MS = 60_000 // then a WebSocket is tried again this often

  constructor(store) {
    this.store = store
    this.offset = 0 // server's clock minus ours, seconds
    this.failures = 0
    this.socket = null
    this.timers = new Set()
  }

  start() {
    document.addEventListener('visibilitychange', () => this.look())
    this.look()
  }

  look() {
    this.stop()
    if (document.hidden) return
    this.tick()
    this.open()
  }

  stop() {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    this.store.polling = false
    this.failures = 0
    const socket = this.socket
    this.socket = null
    socket?.close()
  }

  later(delay, work) {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      work()
    }, delay)
    this.timers.add(timer)
    return timer
  }

  cancel(timer) {
    clearTimeout(timer)
    this.timers.delete(timer)
  }

  // Times on the page go on between two messages.
  tick() {
    this.store.now = Date.now() / 1000 + this.offset
    this.later(1_000, () => this.tick())
  }

  async open() {
    let ticket
    try {
      ;({ticket} = await Nostrclient.call('POST', '/live'))
    } catch (error) {
      this.store.problem = Nostrclient.reason(error)
      return this.again()
    }
    if (document.hidden || this.socket) return
    const socket = new WebSocket(
      `${Nostrclient.wsBase()}/nostrclient/api/v1/live`
    )
    this.socket = socket
    let silence
    const heard = () => {
      this.cancel(silence)
      silence = this.later(Nostrclient.Feed.SILENCE_MS, () => socket.close())
    }
    heard()
    socket.onopen = () => socket.send(ticket)
    socket.onmessage = ({data}) => {
      if (this.socket !== socket) return
      heard()
      this.failures = 0
      this.store.polling = false
      this.take(JSON.parse(data))
    }
    socket.onclose = () => {
      this.cancel(silence)
      if (this.socket !== socket) return
      this.socket = null
      this.failures += 1
      this.again()
    }
  }

  // After an end that nobody here wanted.
  again() {
    const {RETRY_MS, FAILURES, UPGRADE_MS} = Nostrclient.Feed
    if (this.failures > FAILURES) {
      if (!this.store.polling) {
        this.store.polling = true
        this.poll()
      }
      return this.later(UPGRADE_MS, () => this.open())
    }
    const delay = RETRY_MS[Math.min(this.failures, RETRY_MS.length - 1)]
    // Not even a ticket: the server is away, so asking it is all there is to do.
    this.later(this.store.problem ? RETRY_MS.at(-1) : delay, () => this.open())
  }

  async poll() {
    try {
      const all = await Nostrclient.call('GET', '/live')
      if (this.socket || !this.store.polling) return
      const urls = new Set(all.relays.map(relay => relay.url))
      const gone = this.store.relays.filter(relay => !urls.has(relay.url))
      this.take({...all, gone: gone.map(relay => relay.url)})
    } catch (error) {
      this.store.problem = Nostrclient.reason(error)
    }
    if (this.store.polling) {
      this.later(Nostrclient.Feed.POLL_MS, () => this.poll())
    }
  }

  // The parts that have changed.
  take(news) {
    const store = this.store
    this.offset = news.time - Date.now() / 1000
    store.now = news.time
    store.problem = ''
    store.loaded = true
    for (const part of ['state', 'attention', 'clients']) {
      if (news[part]) store[part] = news[part]
    }
    if (news.relays) this.takeRelays(news.relays, news.gone)
    if (news.history) this.takeHistory(news.history, news.time)
  }

  // Rows stay the same objects, so that nothing on the page is built anew.
  takeRelays(lines, gone) {
    const store = this.store
    if (gone.length) {
      store.relays = store.relays.filter(relay => !gone.includes(relay.url))
    }
    const known = new Map(store.relays.map(relay => [relay.url, relay]))
    for (const line of lines) {
      const relay = known.get(line.url)
      if (relay) Object.assign(relay, line)
      else store.relays.push(line)
    }
  }

  takeHistory(entries, time) {
    const from = time - Nostrclient.Feed.HISTORY_SECONDS
    const fresh = new Set(entries.map(([second]) => second))
    this.store.history = this.store.history
      .filter(([second]) => second >= from && !fresh.has(second))
      .concat(entries)
  }
}
