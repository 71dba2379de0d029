// Whether Nostr works, step by step: each relay by an event of a throw-away key, the
// endpoint as a client outside would use it. And a direct message, to try by hand.

Nostrclient.SECONDS = 10 // for the endpoint to answer

// Connects as any client does. `say` gets every message; resolves when it says so.
Nostrclient.talk = (url, first, say, opened = () => {}) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url)
    const end = () => {
      clearTimeout(timer)
      socket.onclose = null
      socket.close()
    }
    const fail = (/** @type {string} */ text) => {
      end()
      reject(new Error(text))
    }
    const timer = setTimeout(
      () => fail(`No answer within ${Nostrclient.SECONDS} seconds.`),
      Nostrclient.SECONDS * 1000
    )
    socket.onopen = () => {
      opened()
      socket.send(first)
    }
    socket.onclose = () => fail('The endpoint does not let us in.')
    socket.onmessage = ({data}) => {
      const answer = say(JSON.parse(data))
      if (answer === undefined) return
      end()
      resolve(answer)
    }
  })

// The address of an open endpoint.
Nostrclient.openEndpoint = async () => {
  const {private: secret, public: open} = await Nostrclient.call(
    'GET',
    '/endpoints'
  )
  const path = secret ?? open
  if (!path) throw new Error('Both endpoints are off.')
  return Nostrclient.wsBase() + path
}

// What went wrong here or at the server.
Nostrclient.failure = error => {
  const {response, message} = /** @type {ApiError & Error} */ (error)
  return response ? Nostrclient.reason(error) : message
}

window.app.component('nostrclient-test', {
  template: '#nostrclient-test',
  data() {
    return {
      store: Nostrclient.store,
      running: false,
      AT_ONCE: 4,
      /** @type {CheckStep[]} */
      endpoint: [],
      /** @type {ShownCheck[]} */
      checks: [],
      names: {
        key: 'Make a key',
        connection: 'Connect',
        subscription: 'Subscribe',
        publication: 'Publish',
        return: 'See it come back'
      }
    }
  },
  computed: {
    relays() {
      return this.store.relays.filter(
        relay =>
          relay.configured &&
          ['connected', 'connecting', 'waiting'].includes(relay.state)
      )
    },
    verdict() {
      if (this.running || !this.endpoint.length) return ''
      const good = this.checks.filter(check => check.passed).length
      const all = this.checks.length
      if (!all) return 'There is no relay in use that could be tested.'
      if (good === all && this.endpoint.every(step => step.passed)) {
        return 'Everything works.'
      }
      if (!good) return 'No relay has passed the test.'
      return `${good} of ${all} relays have passed the test.`
    }
  },
  methods: {
    async run() {
      this.running = true
      this.endpoint = []
      this.checks = this.relays.map(({url}) => ({
        url,
        passed: null,
        steps: [],
        problem: ''
      }))
      await this.checkEndpoint()
      const waiting = [...this.checks]
      const work = async () => {
        for (let next; (next = waiting.shift());) await this.check(next)
      }
      await Promise.all(Array.from({length: this.AT_ONCE}, work))
      this.running = false
    },
    /** @param {ShownCheck} check */
    async check(check) {
      try {
        const {url} = check
        Object.assign(
          check,
          await Nostrclient.call('POST', '/relay/check', {url})
        )
      } catch (error) {
        Object.assign(check, {
          passed: false,
          problem: Nostrclient.reason(error)
        })
      }
    },
    async checkEndpoint() {
      let started = performance.now()
      const names = ['Connect', 'Ask']
      /**
       * @param {boolean} passed
       * @param {string} text
       */
      const end = (passed, text) => {
        const ms = Math.round(performance.now() - started)
        const name = names[this.endpoint.length]
        this.endpoint.push({name, passed, ms, text})
        started = performance.now()
      }
      try {
        await Nostrclient.talk(
          await Nostrclient.openEndpoint(),
          JSON.stringify(['REQ', 'test', {limit: 0}]),
          message => (message[0] === 'EOSE' ? true : undefined),
          () => end(true, 'It lets this browser in.')
        )
        end(true, 'It answers, when the relays have had their time.')
      } catch (error) {
        end(false, Nostrclient.failure(error))
      }
    }
  }
})

window.app.component('nostrclient-message-test', {
  template: '#nostrclient-message-test',
  data() {
    return {
      sender: '',
      receiver: '',
      message: '',
      /** @type {{good: boolean, text: string}[]} */
      lines: [],
      busy: false
    }
  },
  methods: {
    async send() {
      this.busy = true
      this.lines = []
      /**
       * @param {boolean} good
       * @param {string} text
       */
      const say = (good, text) => this.lines.push({good, text})
      try {
        const signed = await Nostrclient.call('PUT', '/relay/test', {
          sender_private_key: this.sender || null,
          reciever_public_key: this.receiver,
          message: this.message
        })
        const event = JSON.parse(signed.event_json)[1]
        say(true, `Encrypted and signed as event ${event.id}.`)
        const [accepted, why] = await Nostrclient.talk(
          await Nostrclient.openEndpoint(),
          signed.event_json,
          ([verb, , ...rest]) => (verb === 'OK' ? rest : undefined)
        )
        const words = why ? `: ${why}` : '.'
        say(accepted, `${accepted ? 'Accepted' : 'Refused'}${words}`)
      } catch (error) {
        say(false, Nostrclient.failure(error))
      }
      this.sender = '' // no key stays on the page
      this.busy = false
    }
  }
})

window.app.component('nostrclient-step', {
  template: '#nostrclient-step',
  props: {
    step: {type: /** @type {Prop<CheckStep>} */ (Object), required: true},
    name: {type: String, required: true}
  }
})
