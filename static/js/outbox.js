// What waits for a relay, and what no relay wants.

Nostrclient.outbox = {
  async retry(ids) {
    await Nostrclient.act(async () => {
      const {count} = await Nostrclient.call('POST', '/outbox/retry', {ids})
      const events = Nostrclient.words.counted(count, 'event')
      Quasar.Notify.create({message: `Trying ${events} again.`})
    })
  },

  // Those that wait, and not those that every relay has refused.
  async retryWaiting() {
    await Nostrclient.act(async () => {
      const {rows} = await Nostrclient.call('GET', '/outbox')
      const waiting = rows.filter(row =>
        ['queued', 'in doubt'].includes(row.state)
      )
      await this.retry(waiting.map(row => row.id))
    })
  }
}

window.app.component('nostrclient-outbox', {
  template: '#nostrclient-outbox',
  data() {
    return {
      store: Nostrclient.store,
      words: Nostrclient.words,
      /** @type {Outbox | null} */
      outbox: null,
      /** @type {string | number | null} */
      size: null, // as the owner writes it
      /** @type {number | null} */
      saved: null,
      /** @type {Promise<void> | null} */
      looking: null,
      /** @type {Promise<void> | null} */
      next: null, // look, for after this one
      busy: false,
      shown: false
    }
  },
  computed: {
    // What makes a new look worth it.
    counts() {
      const outbox = this.store.state?.outbox
      if (!outbox) return ''
      const {queued, in_doubt: inDoubt, rejected, delivered, problem} = outbox
      return [queued, inDoubt, rejected, delivered, problem].join(' ')
    },
    groups() {
      const rows = this.outbox?.rows ?? []
      const of = (/** @type {OutboxEntry['state'][]} */ ...states) =>
        rows.filter(row => states.includes(row.state))
      return [
        {
          name: 'waiting',
          title: 'Waiting for a relay',
          note: 'Sent as soon as a relay takes them, in the order they were published.',
          rows: of('queued', 'in doubt'),
          retry: true,
          loss: 'They were promised to be sent. Deleted, they are lost.'
        },
        {
          name: 'rejected',
          title: 'Refused by every relay',
          note: 'Kept here for you to see; not tried again by themselves.',
          rows: of('rejected'),
          retry: true,
          loss: 'No relay has them. Deleted, they are lost.'
        },
        {
          name: 'unreadable',
          title: 'Unreadable',
          note: 'Rows of the database that are no events. The log says more.',
          rows: of('unreadable'),
          retry: false,
          loss: 'They are no events that could be sent.'
        }
      ].filter(group => group.rows.length)
    },
    summary() {
      if (!this.outbox) return ''
      const {delivered, dropped} = this.outbox
      const {counted} = this.words
      const parts = [
        `${counted(delivered, 'event')} sent from here since the start`
      ]
      if (dropped.expired) parts.push(`${dropped.expired} expired`)
      if (dropped.withdrawn) parts.push(`${dropped.withdrawn} withdrawn`)
      if (dropped.superseded) {
        parts.push(`${dropped.superseded} replaced by a newer version`)
      }
      return `${parts.join(', ')}.`
    },
    sizeIsGood() {
      // An empty field is no 0, with which nothing could wait.
      return /^\d+$/.test(`${this.size ?? ''}`) && Number(this.size) <= 10_000
    }
  },
  watch: {
    counts() {
      if (this.shown) this.load()
    }
  },
  // The tab stays when another one is looked at, and then asks for nothing.
  activated() {
    this.shown = true
    this.load()
  },
  deactivated() {
    this.shown = false
  },
  async created() {
    await Nostrclient.act(async () => {
      const {outbox_size: size} = await Nostrclient.call('GET', '/config')
      this.saved = size
      this.size ??= size // unless the owner was quicker
    })
  },
  methods: {
    // One look at a time, and the last one after the last change.
    load() {
      this.next ??= (this.looking ?? Promise.resolve()).then(() => {
        this.next = null
        return (this.looking = this.look())
      })
      return this.next
    },
    async look() {
      try {
        this.outbox = await Nostrclient.call('GET', '/outbox')
      } catch {
        // The page says already that there is no data.
      }
    },
    /** @param {() => Promise<unknown>} work */
    async act(work) {
      this.busy = true
      await Nostrclient.act(work)
      await this.load()
      this.busy = false
    },
    /** @param {OutboxEntry} row */
    retry(row) {
      return this.act(() => Nostrclient.call('POST', `/outbox/${row.id}/retry`))
    },
    /** @param {{rows: OutboxEntry[]}} group */
    async retryAll(group) {
      this.busy = true
      await Nostrclient.outbox.retry(group.rows.map(row => row.id))
      await this.load()
      this.busy = false
    },
    /**
     * @param {{loss: string}} group
     * @param {OutboxEntry[]} rows
     */
    remove(group, rows) {
      const events = this.words.counted(rows.length, 'event')
      const ids = rows.map(row => row.id)
      LNbits.utils
        .confirmDialog(`Delete ${events} for good? ${group.loss}`)
        .onOk(() =>
          this.act(() => Nostrclient.call('DELETE', '/outbox', {ids}))
        )
    },
    async saveSize() {
      if (!this.sizeIsGood) return
      await this.act(async () => {
        const size = Number(this.size)
        await Nostrclient.call('PUT', '/config', {outbox_size: size})
        this.saved = size
      })
    },
    /** @param {OutboxEntry} row */
    title(row) {
      return row.kind === null ? 'No event' : `Kind ${row.kind}`
    },
    /** @param {OutboxEntry} row */
    reasons(row) {
      return Object.entries(row.reasons).map(([url, text]) =>
        url ? `${url}: ${text}` : text
      )
    }
  }
})
