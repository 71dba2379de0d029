// What the page knows, and where it comes from.
//
// `store` is the one place for what is shown live. It is filled from a WebSocket, about
// once a second; by asking every few seconds where no WebSocket gets through; and by
// nothing at all while nobody looks. Everything else on the page reads it, and changes
// things on the server with `call`.

Nostrclient.prefix = window.location.pathname.split('/nostrclient')[0]
Nostrclient.api = `${Nostrclient.prefix}/nostrclient/api/v1`

Nostrclient.store = Vue.reactive(
  /** @type {Store} */ ({
    loaded: false,
    problem: '', // why there is no live data
    polling: false,
    now: Date.now() / 1000, // by the server's clock
    state: null,
    relays: [],
    attention: [],
    clients: {total: 0, clients: []},
    history: []
  })
)

Nostrclient.call = async (method, path, ...[data]) => {
  const url = Nostrclient.api + path
  const response = await LNbits.api.request(method, url, null, data)
  return response.data
}

// The same without LNbits' bar for requests, for what nobody has asked for. And LNbits'
// service worker answers with what it has when the server is away: only a GET.
Nostrclient.quietly = async (method, path) => {
  const response = await fetch(Nostrclient.api + path, {method})
  const data = await response.json().catch(() => null)
  if (!response.ok) throw {response: {status: response.status, data}}
  return data
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
  const {response} = /** @type {ApiError} */ (error)
  const status = response?.status
  if (status === 401) {
    return 'You are logged out. Log in and open the page again.'
  }
  const detail = response?.data?.detail
  if (typeof detail === 'string') return detail
  if (detail?.[0]?.msg) return detail.map(({msg}) => msg).join(', ')
  return status
    ? `The server answers with an error (${status}).`
    : 'This server cannot be reached.'
}

// What programs go by, beside the reason; nothing if it is no refusal of ours.
Nostrclient.code = error =>
  /** @type {ApiError} */ (error).response?.data?.code ?? ''

// LNbits goes to its other pages without loading anew.
Nostrclient.isOpen = () =>
  window.location.pathname.startsWith(`${Nostrclient.prefix}/nostrclient`)

Nostrclient.wsBase = () =>
  window.location.origin.replace(/^http/, 'ws') + Nostrclient.prefix

// Of the settings an owner wants, what is to be saved: another admin may have changed the
// rest.
Nostrclient.changes = (saved, wanted) => {
  const before = new Map(Object.entries(saved))
  const changed = Object.entries(wanted).filter(
    ([name, value]) => value !== before.get(name)
  )
  return /** @type {Partial<typeof wanted>} */ (Object.fromEntries(changed))
}

// What goes on between two calls of `look` is a round. Whatever an earlier one still
// waits for comes to nothing.
Nostrclient.Feed = class Feed {
  static HISTORY_SECONDS = 300
  static FIRST_MS = 5_000 // until a new WebSocket has said something
  static SILENCE_MS = 30_000 // the server says something every ten seconds
  static POLL_MS = 3_000
  static RETRY_MS = [500, 1_000, 2_000, 5_000] // until the next WebSocket
  static FAILURES = 2 // before the page asks instead
  static UPGRADE_MS = 60_000 // then a WebSocket is tried again this often

  /** @param {Store} store */
  constructor(store) {
    this.store = store
    this.polled = 0 // the time of the last answer to a question
    this.offset = 0 // server's clock minus ours, seconds
    this.failures = 0
    /** @type {WebSocket | null} */
    this.socket = null
    /** @type {Set<number>} */
    this.timers = new Set()
    this.round = 0
  }

  start() {
    document.addEventListener('visibilitychange', () => this.look())
    this.look()
  }

  look() {
    this.stop()
    if (document.hidden || !Nostrclient.isOpen()) return
    this.tick()
    this.open()
  }

  stop() {
    this.round += 1
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    this.store.polling = false
    const socket = this.socket
    this.socket = null
    socket?.close()
  }

  /**
   * @param {number} delay Milliseconds.
   * @param {() => void} work
   */
  later(delay, work) {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      work()
    }, delay)
    this.timers.add(timer)
    return timer
  }

  /** @param {number} timer */
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
    const {round} = this
    try {
      const {ticket} = await Nostrclient.quietly('POST', '/live')
      if (round === this.round) this.connect(ticket)
    } catch (error) {
      if (round !== this.round) return
      this.store.problem = Nostrclient.reason(error)
      this.again()
    }
  }

  /** @param {string} ticket */
  connect(ticket) {
    const {FIRST_MS, SILENCE_MS} = Feed
    const socket = new WebSocket(
      `${Nostrclient.wsBase()}/nostrclient/api/v1/live`
    )
    this.socket = socket
    let first = true
    /** @type {number} */
    let silence
    const end = () => {
      if (this.socket !== socket) return
      this.cancel(silence)
      this.socket = null
      socket.close()
      this.failures += 1
      this.again()
    }
    silence = this.later(FIRST_MS, end)
    socket.onopen = () => socket.send(ticket)
    socket.onclose = end
    socket.onmessage = ({data}) => {
      if (this.socket !== socket) return
      this.cancel(silence)
      silence = this.later(SILENCE_MS, end)
      this.failures = 0
      this.store.polling = false
      // The first one is the whole: what it does not name is no more.
      const news = JSON.parse(data)
      if (first) this.takeAll(news)
      else this.take(news)
      first = false
    }
  }

  // After an end that nobody here wanted.
  again() {
    const {RETRY_MS, FAILURES, UPGRADE_MS} = Feed
    if (this.failures > FAILURES) {
      if (!this.store.polling) {
        this.store.polling = true
        this.poll()
      }
      this.later(UPGRADE_MS, () => this.open())
      return
    }
    // Not even a ticket: the server is away, so asking it is all there is to do.
    const last = RETRY_MS.length - 1
    const at = this.store.problem ? last : Math.min(this.failures, last)
    this.later(RETRY_MS[at], () => this.open())
  }

  async poll() {
    const {round} = this
    let all, failure
    try {
      all = await Nostrclient.quietly('GET', '/live')
    } catch (error) {
      failure = error
    }
    if (round !== this.round || !this.store.polling) return
    // The same answer again: the server is away, and LNbits' service worker has kept it.
    if (all && all.time !== this.polled) {
      this.polled = all.time
      this.takeAll(all)
    } else {
      this.store.problem = Nostrclient.reason(failure ?? {})
    }
    this.later(Feed.POLL_MS, () => this.poll())
  }

  /** @param {Overview} all */
  takeAll(all) {
    const urls = new Set(all.relays.map(relay => relay.url))
    const gone = this.store.relays.filter(relay => !urls.has(relay.url))
    this.take({...all, gone: gone.map(relay => relay.url)})
  }

  /** @param {News} news */
  take(news) {
    const store = this.store
    this.offset = news.time - Date.now() / 1000
    store.now = news.time
    store.problem = ''
    store.loaded = true
    if (news.state) store.state = news.state
    if (news.attention) store.attention = news.attention
    if (news.clients) store.clients = news.clients
    if (news.relays) this.takeRelays(news.relays, news.gone ?? [])
    if (news.history) this.takeHistory(news.history, news.time)
  }

  /**
   * Rows stay the same objects, so that nothing on the page is built anew.
   * @param {RelayLine[]} lines
   * @param {string[]} gone
   */
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

  /**
   * @param {Second[]} entries
   * @param {number} time
   */
  takeHistory(entries, time) {
    const from = time - Feed.HISTORY_SECONDS
    const fresh = new Set(entries.map(([second]) => second))
    this.store.history = this.store.history
      .filter(
        ([second]) => second >= from && second <= time && !fresh.has(second)
      )
      .concat(entries)
  }
}
