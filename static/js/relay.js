// The parts of one relay's row, and its dialog of errors and notices.

window.app.component('nostrclient-relay-name', {
  template: '#nostrclient-relay-name',
  props: {
    relay: {type: /** @type {Prop<RelayLine>} */ (Object), required: true}
  },
  data() {
    return {store: Nostrclient.store, words: Nostrclient.words}
  },
  computed: {
    standing() {
      return Nostrclient.relays.standing(this.relay, this.store.now)
    },
    // A connection that stands has left its errors behind.
    error() {
      const {state, last_error: error} = this.relay
      return state === 'connected' ? null : error
    }
  }
})

window.app.component('nostrclient-relay-switch', {
  template: '#nostrclient-relay-switch',
  props: {
    relay: {type: /** @type {Prop<RelayLine>} */ (Object), required: true},
    name: {type: /** @type {Prop<RelaySwitch>} */ (String), required: true},
    label: {type: String, required: true},
    named: {type: Boolean, default: false} // the label beside it
  },
  data() {
    return {busy: false}
  },
  methods: {
    /** @param {boolean} on */
    async put(on) {
      this.busy = true
      await Nostrclient.relays.put(this.relay.url, this.name, on)
      this.busy = false
    }
  }
})

window.app.component('nostrclient-relay-menu', {
  template: '#nostrclient-relay-menu',
  props: {
    relay: {type: /** @type {Prop<RelayLine>} */ (Object), required: true}
  },
  emits: ['log'],
  computed: {
    isUsed() {
      return !['inactive', 'invalid', 'paused'].includes(this.relay.state)
    }
  },
  methods: {
    /** @param {'reconnect' | 'pause' | 'chooseKey' | 'remove'} verb */
    act(verb) {
      return Nostrclient.relays[verb](this.relay.url)
    }
  }
})

window.app.component('nostrclient-relay-log', {
  template: '#nostrclient-relay-log',
  props: {
    url: {type: /** @type {Prop<string | null>} */ (String), default: null}
  },
  emits: ['close'],
  data() {
    return {
      words: Nostrclient.words,
      store: Nostrclient.store,
      /** @type {RelayLog} */
      log: {errors: [], notices: []},
      /** @type {Fact[]} */
      facts: [],
      loading: false
    }
  },
  computed: {
    relay() {
      return this.store.relays.find(relay => relay.url === this.url)
    },
    // While it is open, what is new comes in.
    count() {
      return this.relay && `${this.relay.errors} ${this.relay.noticed_at}`
    },
    sections() {
      const {errors, notices} = this.log
      return [
        {title: 'Errors', entries: errors, none: 'No error.'},
        {title: 'Notices of the relay', entries: notices, none: 'No notice.'}
      ]
    }
  },
  watch: {
    url() {
      this.log = {errors: [], notices: []}
      this.facts = []
      this.load()
      this.ask()
    },
    count() {
      this.load()
    }
  },
  methods: {
    async load() {
      const url = this.url
      if (!url || !this.relay) return
      if (['inactive', 'invalid', 'paused'].includes(this.relay.state)) return
      this.loading = true
      await Nostrclient.act(async () => {
        const name = encodeURIComponent(url)
        const log = await Nostrclient.call('GET', `/relay/log?url=${name}`)
        if (this.url === url) this.log = log
      })
      this.loading = false
    },
    // What it is known to take. Where it does not describe itself, nothing is shown.
    async ask() {
      const url = this.url
      if (!url || !this.relay) return
      const name = encodeURIComponent(url)
      const info = await Nostrclient.call(
        'GET',
        `/relay/info?url=${name}`
      ).catch(() => null)
      if (info && this.url === url) this.facts = Nostrclient.relays.facts(info)
    },
    /** @param {LogEntry} entry */
    when({time}) {
      return `${this.words.duration(this.store.now - time)} ago`
    }
  }
})
