// What this is, and how to begin.

window.app.component('nostrclient-start', {
  template: '#nostrclient-start',
  emits: ['show'],
  data() {
    return {
      FIRST: [
        'wss://relay.damus.io',
        'wss://nos.lol',
        'wss://relay.primal.net'
      ],
      store: Nostrclient.store,
      adding: false
    }
  },
  computed: {
    hasRelays() {
      return this.store.relays.some(relay => relay.configured)
    }
  },
  methods: {
    async addFirst() {
      this.adding = true
      await Nostrclient.act(async () => {
        for (const url of this.FIRST) {
          await Nostrclient.call('POST', '/relay', {url})
        }
        this.$emit('show', 'relays')
      })
      this.adding = false
    }
  }
})
