// Who is connected, and how to cut somebody off.

Nostrclient.clients = {
  cutOff(id) {
    LNbits.utils
      .confirmDialog(
        'Close this connection? Its subscriptions end. The program may connect again.'
      )
      .onOk(() =>
        Nostrclient.act(async () => {
          await Nostrclient.call('DELETE', `/clients/${id}`)
          Quasar.Notify.create({message: 'The connection is closed.'})
        })
      )
  }
}

window.app.component('nostrclient-clients', {
  template: '#nostrclient-clients',
  data() {
    /**
     * @param {string} name
     * @param {string} label
     */
    const number = (name, label) => ({
      name,
      label,
      field: name,
      align: 'right',
      sortable: true
    })
    return {
      store: Nostrclient.store,
      words: Nostrclient.words,
      pagination: {rowsPerPage: 0},
      columns: [
        {name: 'who', label: 'Who', align: 'left'},
        {
          name: 'since',
          label: 'Connected for',
          field: 'connected_since',
          align: 'left',
          sortable: true
        },
        number('subscriptions', 'Subscriptions'),
        number('published', 'Published'),
        number('delivered', 'Received'),
        number('waiting', 'Unread'),
        {name: 'actions', label: '', align: 'right'}
      ]
    }
  },
  computed: {
    numbers() {
      return ['subscriptions', 'published', 'delivered', 'waiting'].map(name =>
        this.columns.find(column => column.name === name)
      )
    },
    more() {
      const {total, clients} = this.store.clients
      return total - clients.length
    }
  },
  methods: {
    /** @param {ConnectedClient} client */
    cutOff(client) {
      Nostrclient.clients.cutOff(client.id)
    }
  }
})

window.app.component('nostrclient-client-name', {
  template: '#nostrclient-client-name',
  props: {
    client: {
      type: /** @type {Prop<ConnectedClient>} */ (Object),
      required: true
    }
  },
  computed: {
    kind() {
      return {
        public: 'Public endpoint',
        private: 'Private endpoint',
        extension: 'Inside LNbits'
      }[this.client.kind]
    },
    // What a proxy says of whom it stands for is its word, or anybody's.
    address() {
      const {address, forwarded_for: other} = this.client
      return other ? `${other}, by way of ${address}` : address
    }
  }
})
