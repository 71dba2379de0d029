// The proxy through which relays are reached.

window.app.component('nostrclient-proxy', {
  template: '#nostrclient-proxy',
  data() {
    return {
      /** @type {Pick<Config, 'proxy' | 'proxy_for_all'> | null} */
      saved: null, // the settings of the server
      wanted: {proxy: '', proxy_for_all: false},
      saving: false,
      problem: ''
    }
  },
  computed: {
    inShort() {
      if (!this.saved) return ''
      const {proxy, proxy_for_all} = this.saved
      if (!proxy) return 'None. Relays with a .onion address need one.'
      return `${proxy}, ${proxy_for_all ? 'for all relays' : 'for .onion relays'}`
    },
    changes() {
      return this.saved ? Nostrclient.changes(this.saved, this.wanted) : {}
    },
    changed() {
      return Object.keys(this.changes).length > 0
    }
  },
  created() {
    this.load()
  },
  methods: {
    // Again whenever it is opened, unless the owner has begun to change it by the
    // time the answer is there.
    async load() {
      await Nostrclient.act(async () => {
        const config = await Nostrclient.call('GET', '/config')
        if (!this.saved || !this.changed) this.take(config)
      })
    },
    /** @param {Config} config */
    take({proxy, proxy_for_all}) {
      this.saved = {proxy, proxy_for_all}
      this.reset()
    },
    reset() {
      if (this.saved) this.wanted = {...this.saved}
      this.problem = ''
    },
    async save() {
      this.saving = true
      this.problem = ''
      try {
        // It is shown without its password from now on.
        this.take(await Nostrclient.call('PUT', '/config', this.changes))
        Quasar.Notify.create({message: 'Saved.', color: 'positive'})
      } catch (error) {
        this.problem = Nostrclient.reason(error)
      }
      this.saving = false
    }
  }
})
