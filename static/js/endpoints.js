// Where clients connect, and whether they may.

window.app.component('nostrclient-endpoints', {
  template: '#nostrclient-endpoints',
  data() {
    return {
      store: Nostrclient.store,
      /** @type {EndpointSettings | null} */
      saved: null, // the settings of the server
      wanted: {
        public_ws: false,
        private_ws: false,
        public_reads_with_keys: false,
        address: '',
        allowed: ''
      },
      /** @type {Endpoints} */
      endpoints: {public: null, private: null, address: '', public_allowed: []},
      /** @type {string | null} */
      shownCode: null,
      saving: false,
      problem: '',
      problemCode: '',
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
          text: this.saved?.allowed
            ? 'For wallets and other clients outside. Only those who sign in with a key of the list may use it.'
            : 'For wallets and other clients outside. Anybody who reaches this server may use it to read and publish on your relays.'
        }
      ]
    },
    /** @returns {Partial<Config>} */
    changes() {
      if (!this.saved) return {}
      const {allowed, ...rest} = Nostrclient.changes(this.saved, this.wanted)
      if (allowed === undefined) return rest
      return {...rest, public_allowed: this.keys(allowed)}
    },
    // A refusal, at the field it is about.
    listProblem() {
      return this.problemCode === 'public_allowed' ? this.problem : ''
    },
    addressProblem() {
      return this.listProblem ? '' : this.problem
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
    this.load()
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
        await this.take(await Nostrclient.call('GET', '/config'))
        const {exists} = await Nostrclient.call('GET', '/metrics/token')
        this.hasToken = exists
      })
    },
    /** @param {Config} config */
    async take({public_ws, private_ws, public_reads_with_keys, address}) {
      this.endpoints = await Nostrclient.call('GET', '/endpoints')
      const allowed = this.endpoints.public_allowed.join('\n')
      this.saved = {
        public_ws,
        private_ws,
        public_reads_with_keys,
        address,
        allowed
      }
      this.reset()
    },
    /**
     * The public keys that a text names, one on each line.
     * @param {string} text
     */
    keys(text) {
      return text.split(/[\s,]+/).filter(Boolean)
    },
    /** @param {'public' | 'private'} kind */
    url(kind) {
      const path = this.endpoints[kind]
      return path && this.base + path
    },
    /**
     * What it will do once it is saved.
     * @param {'public' | 'private'} kind
     */
    effect(kind) {
      const will = this.wanted[`${kind}_ws`]
      if (will === this.saved?.[`${kind}_ws`]) return ''
      if (will) return 'Clients may connect once this is saved.'
      return 'No new clients may connect once this is saved. Those that are connected stay.'
    },
    save() {
      const {public_ws, allowed} = this.wanted
      const forAll = public_ws && !this.keys(allowed).length
      const wasForAll = this.saved?.public_ws && !this.saved.allowed
      if (!forAll || wasForAll) {
        this.reallySave()
        return
      }
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
        await this.take(await Nostrclient.call('PUT', '/config', this.changes))
        Quasar.Notify.create({message: 'Saved.', color: 'positive'})
      } catch (error) {
        this.problem = Nostrclient.reason(error)
        this.problemCode = Nostrclient.code(error)
      }
      this.saving = false
    },
    reset() {
      if (this.saved) this.wanted = {...this.saved}
      this.problem = ''
    },
    /** @param {string} text */
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
