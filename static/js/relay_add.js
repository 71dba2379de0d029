// The dialog that adds a relay: what it is called and what it takes is shown before.

window.app.component('nostrclient-relay-add', {
  template: '#nostrclient-relay-add',
  props: {modelValue: {type: Boolean, required: true}},
  emits: ['update:modelValue'],
  data() {
    return {
      PAUSE_MS: 600, // after the last key
      // In wide use and open to everybody.
      WELL_KNOWN: [
        'wss://relay.damus.io',
        'wss://nos.lol',
        'wss://relay.primal.net',
        'wss://offchain.pub',
        'wss://nostr.mom',
        'wss://relay.snort.social',
        'wss://relay.getalby.com/v1'
      ],
      url: '',
      /** @type {RelayInfo | null} */
      info: null,
      problem: '',
      asking: false,
      adding: false,
      timer: 0
    }
  },
  computed: {
    choices() {
      const known = new Set(
        Nostrclient.store.relays
          .filter(relay => relay.configured)
          .map(relay => relay.url)
      )
      return this.WELL_KNOWN.filter(url => !known.has(url))
    },
    // What makes a relay less useful than it looks.
    warnings() {
      const limits = this.info?.limits
      return [
        limits?.payment_required && 'It takes events from paying users only.',
        limits?.auth_required &&
          'It answers only to those who log in (NIP-42).',
        limits?.restricted_writes && 'It does not take events from everybody.'
      ].filter(Boolean)
    },
    facts() {
      return this.info ? Nostrclient.relays.facts(this.info) : []
    }
  },
  watch: {
    url() {
      this.problem = ''
      this.info = null
      clearTimeout(this.timer)
      if (this.url) this.timer = setTimeout(() => this.ask(), this.PAUSE_MS)
    }
  },
  unmounted() {
    clearTimeout(this.timer)
  },
  methods: {
    async ask() {
      const url = this.url
      this.asking = true
      try {
        const name = encodeURIComponent(url)
        const info = await Nostrclient.call('GET', `/relay/info?url=${name}`)
        if (this.url === url) this.info = info
      } catch (error) {
        if (this.url === url) this.problem = Nostrclient.reason(error)
      }
      this.asking = false
    },
    async add() {
      if (!this.url) return
      this.adding = true
      try {
        await Nostrclient.call('POST', '/relay', {url: this.url})
        this.$emit('update:modelValue', false)
        Quasar.Notify.create({
          message: `${this.url} is added.`,
          color: 'positive'
        })
        this.url = ''
      } catch (error) {
        this.problem = Nostrclient.reason(error)
      }
      this.adding = false
    }
  }
})
