// The admin's page: the state, what needs attention, and a tab for each kind of work.

window.app = Vue.createApp({
  mixins: [window.windowMixin],
  data() {
    const TABS = ['relays', 'outbox', 'clients', 'endpoints', 'test', 'start']
    const asked = window.location.hash.slice(1)
    return {
      store: Nostrclient.store,
      words: Nostrclient.words,
      feed: Vue.markRaw(new Nostrclient.Feed(Nostrclient.store)),
      tab: TABS.includes(asked) ? asked : ''
    }
  },
  computed: {
    // Word, colour and icon for the whole.
    verdict() {
      const {problem, state, attention} = this.store
      if (problem) {
        return {text: 'No live data', color: 'negative', icon: 'cloud_off'}
      }
      const serious = attention.some(item => item.serious)
      if (!state?.connected) {
        return serious
          ? {text: 'Nostr does not work', color: 'negative', icon: 'error'}
          : {text: 'Connecting', color: 'warning', icon: 'pending'}
      }
      if (serious) {
        return {
          text: 'Nostr works in part',
          color: 'warning',
          icon: 'warning'
        }
      }
      return {text: 'Nostr works', color: 'positive', icon: 'check_circle'}
    },
    inShort() {
      const {problem, attention} = this.store
      const {length} = attention
      if (problem) return 'What follows is what was known before.'
      if (!length) return ''
      return length === 1
        ? 'One thing needs your attention.'
        : `${length} things need your attention.`
    },
    tiles() {
      const {state} = this.store
      if (!state) return []
      const {relays, connected, clients, subscriptions, outbox} = state
      const waiting = outbox.queued + outbox.in_doubt
      const [received, delivered, published] = this.rates
      const {counted, duration, number, rate} = this.words
      return [
        {
          name: 'relays',
          label: 'Relays connected',
          value: `${connected} of ${relays}`,
          note: '',
          tab: 'relays'
        },
        {
          name: 'events',
          label: 'Events per second',
          value: `↓ ${rate(received)}  ↑ ${rate(published)}`,
          note: `${rate(delivered)} given to clients`,
          tab: 'relays'
        },
        {
          name: 'clients',
          label: 'Clients',
          value: number(clients),
          note: counted(subscriptions, 'subscription'),
          tab: 'clients'
        },
        {
          name: 'outbox',
          label: 'Waiting to be sent',
          value: number(waiting),
          note: waiting
            ? `the oldest for ${duration(outbox.oldest_age ?? 0)}`
            : `room for ${outbox.size.toLocaleString('en')}`,
          tab: 'outbox'
        }
      ]
    },
    // Events per second over the last ten that have ended: received, delivered, published.
    rates() {
      const end = Math.floor(this.store.now)
      const lately = this.store.history.filter(
        ([second]) => second >= end - 10 && second < end
      )
      return [1, 2, 3].map(
        field => lately.reduce((sum, entry) => sum + entry[field], 0) / 10
      )
    },
    waiting() {
      const outbox = this.store.state?.outbox
      return outbox ? outbox.queued + outbox.in_doubt + outbox.rejected : 0
    }
  },
  watch: {
    '$route.path'() {
      this.feed.look()
    },
    tab(tab) {
      window.history.replaceState(window.history.state, '', `#${tab}`)
    },
    // A new owner has to be told how to begin; one who has begun, how it goes.
    'store.loaded'() {
      const {relays} = this.store
      if (!this.tab) this.tab = relays.length ? 'relays' : 'start'
    }
  },
  methods: {
    /** @param {Action} action */
    mend({do: verb, target}) {
      const {relays} = Nostrclient
      const work = {
        reconnect: () => relays.reconnect(target),
        pause: () => relays.pause(target),
        remove: () => relays.remove(target),
        key: () => relays.chooseKey(target),
        retry: () => Nostrclient.outbox.retryWaiting(),
        cut: () => Nostrclient.clients.cutOff(target),
        show: () => this.show(target)
      }[verb]
      return work()
    },
    /** @param {string} tab */
    async show(tab) {
      this.tab = tab
      await this.$nextTick()
      const tabs = /** @type {HTMLElement} */ (this.$refs.tabs)
      tabs.scrollIntoView({block: 'start'})
    }
  },
  created() {
    this.feed.start()
  },
  unmounted() {
    this.feed.stop()
  }
})
