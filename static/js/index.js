// The admin's page. Talks to the REST routes with the login's cookie, and shows every
// text of a relay as text.

const API = '/nostrclient/api/v1'
const REFRESH_MS = 3000

window.app = Vue.createApp({
  el: '#vue',
  mixins: [window.windowMixin],
  data() {
    return {
      loaded: false,
      problem: '',
      relays: [],
      config: {public_ws: false, private_ws: false},
      endpoints: {public: null, private: null},
      outbox: {
        queued: 0,
        in_doubt: 0,
        rejected: 0,
        size: 0,
        problem: null,
        rows: []
      },
      newUrl: ''
    }
  },
  computed: {
    sorted() {
      return [...this.relays].sort((a, b) => a.url.localeCompare(b.url))
    },
    summary() {
      const active = this.relays.filter(relay => relay.active)
      const connected = active.filter(relay => relay.connected)
      return `${connected.length} of ${active.length} connected`
    },
    outboxInWords() {
      const {queued, in_doubt: inDoubt, rejected, size, rows} = this.outbox
      const age = this.outbox.oldest_age
      const parts = [`${queued} of at most ${size} events wait for a relay`]
      if (inDoubt) parts.push(`${inDoubt} were sent and not answered`)
      if (queued || inDoubt) parts.push(`the oldest for ${this.duration(age)}`)
      if (queued > size) parts.push('no more are taken until some are sent')
      const unreadable = rows.filter(row => row.state === 'unreadable').length
      if (unreadable) parts.push(`${unreadable} cannot be read, see the log`)
      if (rejected) parts.push(`${rejected} were refused by every relay`)
      return `${parts.join(', ')}.`
    }
  },
  methods: {
    async call(method, path, data) {
      const response = await LNbits.api.request(method, API + path, null, data)
      return response.data
    },
    async act(work) {
      try {
        await work()
      } catch (error) {
        LNbits.utils.notifyApiError(error)
      }
    },
    addRelay() {
      return this.act(async () => {
        this.relays = await this.call('POST', '/relay', {url: this.newUrl})
        this.newUrl = ''
      })
    },
    switchRelay(relay, name, on) {
      return this.act(async () => {
        const data = {url: relay.url, [name]: on}
        this.relays = await this.call('PUT', '/relay', data)
      })
    },
    removeRelay(relay) {
      LNbits.utils
        .confirmDialog(`Remove ${relay.url}?`)
        .onOk(() => this.act(() => this.reallyRemove(relay)))
    },
    async reallyRemove(relay) {
      await this.call('DELETE', '/relay', {url: relay.url})
      this.relays = await this.call('GET', '/relays')
    },
    saveConfig(name, on) {
      return this.act(async () => {
        const data = {...this.config, [name]: on}
        this.config = await this.call('PUT', '/config', data)
        await this.loadEndpoints()
      })
    },
    async loadEndpoints() {
      const server = window.location.origin.replace(/^http/, 'ws')
      const paths = await this.call('GET', '/endpoints')
      this.endpoints = {
        public: paths.public && server + paths.public,
        private: paths.private && server + paths.private
      }
    },
    async refresh() {
      if (document.hidden) return
      try {
        this.relays = await this.call('GET', '/relays')
        this.outbox = await this.call('GET', '/outbox')
        this.problem = ''
        this.loaded = true
      } catch (error) {
        this.problem = String(error.response?.data?.detail ?? error.message)
      }
    },
    duration(seconds) {
      if (seconds < 120) return `${seconds} seconds`
      if (seconds < 7200) return `${Math.floor(seconds / 60)} minutes`
      return `${Math.floor(seconds / 3600)} hours`
    },
    stateOf(relay) {
      const {num_sent_events: sent, num_received_events: received} =
        relay.status
      const ping = relay.ping === null ? '' : `, ${relay.ping} ms`
      return `${relay.connected_string}${ping}, ${sent} sent, ${received} received`
    },
    lastError(relay) {
      return relay.connected ? '' : (relay.status.error_list.at(-1) ?? '')
    }
  },
  created() {
    this.refresh()
    this.timer = setInterval(() => this.refresh(), REFRESH_MS)
    this.act(async () => {
      this.config = await this.call('GET', '/config')
      await this.loadEndpoints()
      this.loaded = true
    })
  },
  unmounted() {
    clearInterval(this.timer)
  }
})
