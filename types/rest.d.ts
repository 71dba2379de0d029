// What crosses between the page and `/nostrclient/api/v1`, by the names of the models in
// python/nostrclient_ext/, with which a test compares it. Times are unix seconds.

/** A relay as the page lists it. */
interface RelayLine {
  url: string
  active: boolean
  read: boolean
  write: boolean
  /** False: other extensions have named it, the owner has not. */
  configured: boolean
  state:
    'connecting' | 'connected' | 'waiting' | 'paused' | 'inactive' | 'invalid'
  authentication_required: boolean
  auth_refused: boolean
  authenticated: boolean
  /** Who we are to it: a public key. */
  key: string | null
  refused: boolean
  itself: boolean
  next_attempt: number | null
  connected_since: number | null
  disconnected_since: number | null
  paused_until: number | null
  /** Milliseconds. */
  ping: number | null
  sent: number
  received: number
  duplicates: number
  forged: number
  rejected: number
  dropped: number
  skipped: number
  /** What it ends the connection over, and is not sent now. */
  quarantined: number
  subscriptions_served: number
  /** Or not answered. */
  subscriptions_refused: number
  /** For a place. */
  subscriptions_waiting: number
  errors: number
  noticed_at: number | null
  last_error: string | null
  /** What it is, for programs. */
  last_error_code: string | null
  name: string | null
  icon: string | null
}

type RelaySwitch = 'active' | 'read' | 'write'

/** A relay as the routes that change one answer with it: what is read of it here. */
type Relay = Pick<RelayLine, 'url' | RelaySwitch>

/** What a relay says about itself (NIP-11). */
interface RelayInfo {
  url: string
  name: string | null
  description: string | null
  icon: string | null
  software: string | null
  version: string | null
  supported_nips: number[]
  limits: {
    max_message_length: number | null
    max_subscriptions: number | null
    max_filters: number | null
    max_limit: number | null
    auth_required: boolean | null
    payment_required: boolean | null
    restricted_writes: boolean | null
  }
  /** Why nothing is known. */
  problem: string | null
}

interface LogEntry {
  time: number
  text: string
  code: string | null
}

/** Newest first. */
interface RelayLog {
  errors: LogEntry[]
  notices: LogEntry[]
}

interface CheckStep {
  name: string
  passed: boolean
  ms: number
  text: string
}

/** How a relay did in a test. */
interface RelayCheck {
  url: string
  passed: boolean
  steps: CheckStep[]
}

/** A key by which relays may know this server. The private one stays there. */
interface RelayKey {
  public_key: string
  npub: string
  name: string
  /** False: it was stored under another secret key of LNbits. */
  readable: boolean
  /** Of those that know us by it. */
  relays: string[]
}

interface ConnectedClient {
  id: string
  kind: 'public' | 'private' | 'extension'
  address: string | null
  forwarded_for: string | null
  agent: string | null
  connected_since: number
  subscriptions: number
  published: number
  delivered: number
  waiting: number
  slow: boolean
}

interface Clients {
  total: number
  /** Not all, if there are many. */
  clients: ConnectedClient[]
}

/** What mends something. */
interface Action {
  label: string
  do: 'reconnect' | 'pause' | 'remove' | 'key' | 'retry' | 'cut' | 'show'
  /** A relay's url, a client's id or a part of the page. */
  target: string
}

interface Attention {
  id: string
  serious: boolean
  text: string
  actions: Action[]
}

/** The outbox in numbers. */
interface OutboxNumbers {
  size: number
  queued: number
  in_doubt: number
  rejected: number
  /** Seconds, of those that wait. */
  oldest_age: number | null
  /** Since the core started. */
  delivered: number
  problem: string | null
}

/** An event that waits for a relay, or that no relay wants. */
interface OutboxEntry {
  id: string
  kind: number | null
  pubkey: string | null
  state: 'queued' | 'in doubt' | 'rejected' | 'unreadable'
  queued_at: number
  /** Seconds. */
  age: number
  /** A relay's url to what it said. */
  reasons: Record<string, string>
  /** What each of those is, for programs; of an event that this node sends. */
  reason_codes: Record<string, string>
  /** This node sends it. */
  here: boolean
}

interface Outbox extends OutboxNumbers {
  dropped: {
    expired: number
    withdrawn: number
    superseded: number
    rejected: number
  }
  rows: OutboxEntry[]
}

/** The whole at a glance. */
interface State {
  version: string
  warning: string | null
  /** Why clients' sockets stay with LNbits' web server, if they do. */
  sockets: string | null
  /** That are to be connected. */
  relays: number
  connected: number
  clients: number
  subscriptions: number
  pending_events: number
  totals: {
    received: number
    delivered: number
    published: number
    sent: number
    forged: number
  }
  outbox: OutboxNumbers
}

/** A second, and the events received, delivered and published in it. */
type Second = [number, number, number, number]

/** All that the page shows live. */
interface Overview {
  time: number
  state: State
  history: Second[]
  attention: Attention[]
  relays: RelayLine[]
  clients: Clients
}

/** The parts of it that have changed. */
type News = Partial<Overview> & {
  time: number
  /** With `relays`: the urls of those that are no more. */
  gone?: string[]
}

/** The settings. */
interface Config {
  private_ws: boolean
  public_ws: boolean
  public_reads_with_keys: boolean
  outbox_size: number
  address: string
  public_allowed: string[]
  proxy: string
  proxy_for_all: boolean
}

/** Paths on this server. Null: closed. */
interface Endpoints {
  public: string | null
  private: string | null
  address: string
  public_allowed: string[]
}

/** What each route takes and gives. */
interface Routes {
  'GET /live': {answer: Overview}
  'POST /live': {answer: {ticket: string}}
  'POST /relay': {body: {url: string}; answer: Relay[]}
  'PUT /relay': {
    body: {url: string} & Partial<Record<RelaySwitch, boolean>>
    answer: Relay[]
  }
  'DELETE /relay': {body: {url: string}; answer: null}
  'POST /relay/reconnect': {body: {url: string}; answer: null}
  'POST /relay/pause': {body: {url: string; seconds: number}; answer: Relay[]}
  'POST /relay/check': {body: {url: string}; answer: RelayCheck}
  'PUT /relay/key': {
    body: {url: string | null; public_key: string | null}
    answer: Relay[]
  }
  /** The spelling is the API's. */
  'PUT /relay/test': {
    body: {
      sender_private_key: string | null
      reciever_public_key: string
      message: string
    }
    answer: {event_json: string}
  }
  [info: `GET /relay/info?url=${string}`]: {answer: RelayInfo}
  [log: `GET /relay/log?url=${string}`]: {answer: RelayLog}
  'GET /keys': {answer: RelayKey[]}
  'POST /keys': {body: {name: string; private_key?: string}; answer: RelayKey}
  [key: `DELETE /keys/${string}`]: {answer: null}
  [client: `DELETE /clients/${string}`]: {answer: null}
  'GET /outbox': {answer: Outbox}
  'DELETE /outbox': {body: {ids: string[]}; answer: {count: number}}
  'POST /outbox/retry': {body: {ids: string[]}; answer: {count: number}}
  [event: `POST /outbox/${string}/retry`]: {answer: null}
  'GET /config': {answer: Config}
  'PUT /config': {body: Partial<Config>; answer: Config}
  'GET /endpoints': {answer: Endpoints}
  'GET /metrics/token': {answer: {exists: boolean}}
  'POST /metrics/token': {answer: {token: string}}
  'DELETE /metrics/token': {answer: null}
}
