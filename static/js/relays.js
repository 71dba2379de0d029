// The relays: how each one does, and what the owner does with it.

Nostrclient.relays = {
  PAUSE_SECONDS: 3600,

  // Word, colour and icon for where a relay stands.
  standing(relay, now) {
    const {duration} = Nostrclient.words
    switch (relay.state) {
      case 'connected':
        return {
          color: relay.auth_refused ? 'warning' : 'positive',
          icon: 'check_circle',
          text: `connected for ${duration(now - (relay.connected_since ?? now))}`
        }
      case 'waiting':
        if (relay.itself) {
          return {color: 'negative', icon: 'block', text: 'this server itself'}
        }
        return {
          color: 'negative',
          icon: relay.refused ? 'block' : 'error',
          text: `${relay.refused ? 'refused' : 'not connected'}, next attempt in ${duration((relay.next_attempt ?? now) - now)}`
        }
      case 'paused':
        return {
          color: 'grey',
          icon: 'pause_circle',
          text: `paused for ${duration((relay.paused_until ?? now) - now)}`
        }
      case 'inactive':
        return {
          color: 'grey',
          icon: 'power_settings_new',
          text: 'switched off'
        }
      case 'invalid':
        return {color: 'negative', icon: 'error', text: 'not used'}
      default:
        return {color: 'warning', icon: 'pending', text: 'connecting'}
    }
  },

  // What it says of itself in numbers, and what it is.
  facts({limits, software, version}) {
    /** @type {[name: string, value: string | number | null][]} */
    const all = [
      ['Subscriptions', limits.max_subscriptions],
      ['Filters per request', limits.max_filters],
      ['Events per request', limits.max_limit],
      ['Bytes per message', limits.max_message_length],
      ['Software', [software, version].filter(Boolean).join(' ')]
    ]
    return /** @type {Fact[]} */ (all.filter(([, value]) => value))
  },

  async put(url, name, on) {
    await Nostrclient.act(async () => {
      const all = await Nostrclient.call('PUT', '/relay', {url, [name]: on})
      // At once, not with the next news.
      const changed = all.find(relay => relay.url === url)
      const shown = Nostrclient.store.relays.find(relay => relay.url === url)
      if (!changed || !shown) return
      const {active, read, write} = changed
      Object.assign(shown, {active, read, write})
    })
  },

  async reconnect(url) {
    await Nostrclient.act(() =>
      Nostrclient.call('POST', '/relay/reconnect', {url})
    )
  },

  async pause(url) {
    const seconds = this.PAUSE_SECONDS
    await Nostrclient.act(() =>
      Nostrclient.call('POST', '/relay/pause', {url, seconds})
    )
  },

  chooseKey(url) {
    return Nostrclient.keys.chooseFor(url)
  },

  remove(url) {
    LNbits.utils
      .confirmDialog(
        `Remove ${url}? Nothing is sent to it or found on it then.`
      )
      .onOk(() =>
        Nostrclient.act(() => Nostrclient.call('DELETE', '/relay', {url}))
      )
  }
}

window.app.component('nostrclient-relays', {
  template: '#nostrclient-relays',
  data() {
    const SWITCHES = [
      {name: 'read', label: 'Read', title: 'Subscriptions go to it'},
      {name: 'write', label: 'Write', title: 'Events are published to it'},
      {name: 'active', label: 'Use', title: 'It is connected to at all'}
    ]
    /**
     * @param {string} name
     * @param {string} label
     * @param {string} title
     */
    const number = (name, label, title) => ({
      name,
      label,
      title,
      field: name,
      align: 'right',
      sortable: true
    })
    return {
      store: Nostrclient.store,
      words: Nostrclient.words,
      switches: SWITCHES,
      search: '',
      adding: false,
      /** @type {string | null} */
      logUrl: null,
      // Sorted by what does not change by itself, so that rows stay in place.
      pagination: {sortBy: 'url', rowsPerPage: 0},
      columns: [
        {
          name: 'url',
          label: 'Relay',
          field: 'url',
          align: 'left',
          sortable: true
        },
        number('ping', 'Latency', 'Round trip of the last ping'),
        number(
          'subscriptions_served',
          'Serves',
          'Subscriptions it serves, of those it is asked for'
        ),
        number('sent', 'Sent', 'Events sent to it'),
        number('received', 'Received', 'Events it sent, copies included'),
        number('duplicates', 'Copies', 'Events that had come before'),
        number('forged', 'Forged', 'Events with a wrong signature, dropped'),
        number('rejected', 'Rejected', 'Events it refused'),
        ...SWITCHES.map(({name, label, title}) => ({
          name,
          label,
          title,
          align: 'left'
        })),
        {name: 'actions', label: '', align: 'right'}
      ]
    }
  },
  computed: {
    shown() {
      // What is cleared is null.
      const words = (this.search ?? '')
        .toLowerCase()
        .split(/\s+/)
        .filter(Boolean)
      if (!words.length) return this.store.relays
      return this.store.relays.filter(relay => {
        const {text} = Nostrclient.relays.standing(relay, this.store.now)
        const all = `${relay.url} ${relay.name ?? ''} ${text}`.toLowerCase()
        return words.every(word => all.includes(word))
      })
    },
    numbers() {
      return this.columns.filter(({align}) => align === 'right').slice(0, -1)
    }
  },
  methods: {
    /**
     * @param {RelayLine} relay
     * @param {'ping' | 'subscriptions_served' | 'sent' | 'received' | 'duplicates' | 'forged' | 'rejected'} name
     */
    valueOf(relay, name) {
      const value = relay[name]
      if (value === null) return '–'
      if (name === 'ping') return `${value} ms`
      const unserved = relay.subscriptions_refused + relay.subscriptions_waiting
      const served = this.words.number(value)
      return name === 'subscriptions_served' && unserved
        ? `${served} of ${this.words.number(value + unserved)}`
        : served
    }
  }
})
