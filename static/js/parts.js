// What several tabs show alike.

// A relay's icon, from wherever it says.
window.app.component('nostrclient-avatar', {
  template: '#nostrclient-avatar',
  props: {
    icon: {type: /** @type {Prop<string | null>} */ (String), default: null},
    size: {type: String, required: true}
  },
  data() {
    return {failed: false}
  },
  computed: {
    // None of this server's own: a request to it would come with the owner's login,
    // whatever it asks for.
    address() {
      try {
        const {host} = new URL(this.icon ?? '')
        return host === window.location.host ? null : this.icon
      } catch {
        return null
      }
    }
  },
  watch: {
    icon() {
      this.failed = false
    }
  }
})

// A row's numbers, each under its name: what a table has in columns, on a phone.
window.app.component('nostrclient-numbers', {
  template: '#nostrclient-numbers',
  props: {
    columns: {type: Array, required: true},
    valueOf: {type: Function, required: true} // of a column's name
  }
})
