// Where clients connect, and whether they may.

window.app.component('nostrclient-endpoints', {
  template: '#nostrclient-endpoints',
  data() {
    return {
      store: Nostrclient.store,
      saved: null, // the settings of the server
      wanted: {
        public_ws: false,
        private_ws: false,
        public_reads_with_keys: false,
        address: ''
      },
      endpoints: {public: null, private: null, address: ''},
      shownCode: null,
      saving: false,
      problem: '',
      hasToken: false,
      token: ''
    }
  },
  computed: {
    kinds() {
      return [
        {
          name: 'private',
          title: 'Private endpoint',
          icon: 'lock',
          text: 'For extensions of this server, which find it by themselves, and for your own programs. Whoever knows this address may use it, so keep it secret.'
        },
        {
          name: 'public',
          title: 'Public endpoint',
          icon: 'public',
          text: 'For wallets and other clients outside. Anybody who reaches this server may use it to read and publish on your relays.'
        }
      ]
    },
    // What is to be saved: another admin may have changed the rest.
    changes() {
      const differs = ([name, value]) => value !== this.saved[name]
      return Object.fromEntries(Object.entries(this.wanted).filter(differs))
    },
    changed() {
      return Object.keys(this.changes).length > 0
    },
    base() {
      return this.endpoints.address || Nostrclient.wsBase()
    },
    metricsUrl() {
      return `${window.location.origin}${Nostrclient.api}/metrics`
    }
  },
  created() {
    return this.load()
  },
  watch: {
    // What could not be had at first is asked for again when the server is back.
    'store.problem'(problem) {
      if (!problem && !this.saved) this.load()
    }
  },
  methods: {
    load() {
      return Nostrclient.act(async () => {
        this.take(await Nostrclient.call('GET', '/config'))
        this.endpoints = await Nostrclient.call('GET', '/endpoints')
        const {exists} = await Nostrclient.call('GET', '/metrics/token')
        this.hasToken = exists
      })
    },
    take({public_ws, private_ws, public_reads_with_keys, address}) {
      this.saved = {public_ws, private_ws, public_reads_with_keys, address}
      this.wanted = {...this.saved}
    },
    url(kind) {
      const path = this.endpoints[kind]
      return path && this.base + path
    },
    // What it will do once it is saved.
    effect(kind) {
      const [is, will] = [this.saved, this.wanted].map(at => at[`${kind}_ws`])
      if (is === will) return ''
      if (will) return 'Clients may connect once this is saved.'
      return 'No new clients may connect once this is saved. Those that are connected stay.'
    },
    save() {
      const opens = this.wanted.public_ws && !this.saved.public_ws
      if (!opens) return this.reallySave()
      LNbits.utils
        .confirmDialog(
          'Open the public endpoint? Anybody on the internet who reaches this server can then use it to read and publish on your relays, and uses its bandwidth.'
        )
        .onOk(() => this.reallySave())
    },
    async reallySave() {
      this.saving = true
      this.problem = ''
      try {
        this.take(await Nostrclient.call('PUT', '/config', this.changes))
        this.endpoints = await Nostrclient.call('GET', '/endpoints')
        Quasar.Notify.create({message: 'Saved.', color: 'positive'})
      } catch (error) {
        this.problem = Nostrclient.reason(error)
      }
      this.saving = false
    },
    reset() {
      this.wanted = {...this.saved}
      this.problem = ''
    },
    copy(text) {
      LNbits.utils.copyText(text)
    },
    async makeToken() {
      await Nostrclient.act(async () => {
        const {token} = await Nostrclient.call('POST', '/metrics/token')
        this.token = token
        this.hasToken = true
      })
    },
    async dropToken() {
      await Nostrclient.act(async () => {
        await Nostrclient.call('DELETE', '/metrics/token')
        this.token = ''
        this.hasToken = false
      })
    }
  }
})
