// The keys by which relays may know this server: which there are, and which relay knows
// which. No private key comes from the server; one that is typed in goes there once.

Nostrclient.keys = Vue.reactive(
  /** @type {NostrclientPage['keys']} */ ({
    list: [],
    url: null, // of the relay for which a key is being chosen

    async load() {
      await Nostrclient.act(async () => {
        this.list = await Nostrclient.call('GET', '/keys')
      })
    },

    async chooseFor(url) {
      await this.load()
      this.url = url
    },

    nameOf(key) {
      return key.name || 'A key without a name'
    }
  })
)

window.app.component('nostrclient-keys', {
  template: '#nostrclient-keys',
  data() {
    return {keys: Nostrclient.keys, words: Nostrclient.words}
  },
  created() {
    return this.keys.load()
  },
  methods: {
    /** @param {RelayKey} key */
    usedBy({relays}) {
      return relays.length ? `For ${relays.join(', ')}` : 'For no relay.'
    },
    /** @param {string} text */
    copy(text) {
      LNbits.utils.copyText(text)
    },
    /** @param {RelayKey} key */
    remove(key) {
      const effect = key.relays.length
        ? `${key.relays.join(', ')} will not know you by it any more.`
        : 'No relay knows you by it.'
      LNbits.utils
        .confirmDialog(
          `Delete the key “${this.keys.nameOf(key)}”? ${effect} If you have no copy of it, it is lost.`
        )
        .onOk(async () => {
          await Nostrclient.act(() =>
            Nostrclient.call('DELETE', `/keys/${key.public_key}`)
          )
          await this.keys.load()
        })
    }
  }
})

window.app.component('nostrclient-relay-key', {
  template: '#nostrclient-relay-key',
  data() {
    return {
      keys: Nostrclient.keys,
      choice: 'new', // none, new, given, or a public key
      name: '',
      secret: '',
      saving: false,
      problem: ''
    }
  },
  computed: {
    isNew() {
      return ['new', 'given'].includes(this.choice)
    },
    options() {
      const {shortened} = Nostrclient.words
      const kept = this.keys.list
        .filter(key => key.readable)
        .map(key => ({
          value: key.public_key,
          label: `${this.keys.nameOf(key)} (${shortened(key.npub)})`
        }))
      return [
        {value: 'none', label: 'None: it is not told who you are'},
        ...kept,
        {value: 'new', label: 'A new key, made here'},
        {value: 'given', label: 'A key that you have'}
      ]
    }
  },
  watch: {
    'keys.url'(url) {
      // A private key stays no longer than the dialog.
      this.name = this.secret = this.problem = ''
      const relay = Nostrclient.store.relays.find(one => one.url === url)
      this.choice = relay?.key ?? 'new'
    }
  },
  methods: {
    async save() {
      const {url} = this.keys
      this.saving = true
      this.problem = ''
      try {
        const public_key = await this.chosen()
        await Nostrclient.call('PUT', '/relay/key', {url, public_key})
        this.keys.url = null
      } catch (error) {
        this.problem = Nostrclient.reason(error)
      }
      this.saving = false
      await this.keys.load()
    },
    /**
     * The public key, once the private one is kept.
     * @returns {Promise<string | null>}
     */
    async chosen() {
      if (this.choice === 'none') return null
      if (!this.isNew) return this.choice
      const given = this.choice === 'given' && {private_key: this.secret}
      const key = await Nostrclient.call('POST', '/keys', {
        name: this.name,
        ...given
      })
      this.choice = key.public_key
      return key.public_key
    }
  }
})
