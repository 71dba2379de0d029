// What the page's scripts share: each of them sets its part of `window.Nostrclient`.

/** Filled live; see live.js. */
interface Store {
  loaded: boolean
  /** Why there is no live data. */
  problem: string
  polling: boolean
  /** By the server's clock. */
  now: number
  state: State | null
  relays: RelayLine[]
  attention: Attention[]
  clients: Clients
  history: Second[]
}

/** Where something stands: a word, a colour and an icon. */
interface Standing {
  text: string
  color: string
  icon: string
}

/** The settings of the endpoints' tab. Who is allowed is a text, a key on each line. */
type EndpointSettings = Pick<
  Config,
  'public_ws' | 'private_ws' | 'public_reads_with_keys' | 'address'
> & {allowed: string}

/** A relay's test on the page. */
interface ShownCheck {
  url: string
  /** Null: it goes on. */
  passed: boolean | null
  steps: CheckStep[]
  problem: string
}

/** What a relay says of itself, in a line. */
type Fact = [name: string, value: string | number]

// Of `Routes`, for the signatures of `call` and `quietly`: a path that is no route of the
// method is an error, and what is sent and answered is the route's.
type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'
type Path<M extends Method> = keyof Routes extends infer Name
  ? Name extends `${M} ${infer P}`
    ? P
    : never
  : never
type Route<
  M extends Method,
  P extends string
> = `${M} ${P}` extends keyof Routes ? Routes[`${M} ${P}`] : never
type Question<R> = R extends {body: infer B} ? [data: B] : []
type Answer<R> = R extends {answer: infer A} ? A : never

interface NostrclientPage {
  // words.js
  words: {
    counted(count: number, noun: string): string
    duration(seconds: number): string
    number(value: number): string
    rate(value: number): string
    sentence(text: string): string
    shortened(hex: string | null): string
  }

  // live.js
  /** LNbits' own path, if it is not at the root of its host. */
  prefix: string
  /** Path of the REST routes. */
  api: string
  store: Store
  Feed: new (store: Store) => {start(): void; look(): void; stop(): void}
  call<M extends Method, P extends Path<M>>(
    method: M,
    path: P,
    ...data: Question<Route<M, P>>
  ): Promise<Answer<Route<M, P>>>
  quietly<M extends Method, P extends Path<M>>(
    method: M,
    path: P
  ): Promise<Answer<Route<M, P>>>
  act(work: () => Promise<unknown>): Promise<boolean>
  reason(error: unknown): string
  code(error: unknown): string
  isOpen(): boolean
  wsBase(): string
  changes<T extends object>(saved: T, wanted: T): Partial<T>

  // keys.js, relays.js, outbox.js, clients.js
  keys: {
    list: RelayKey[]
    url: string | null
    load(): Promise<void>
    chooseFor(url: string): Promise<void>
    nameOf(key: RelayKey): string
  }
  relays: {
    PAUSE_SECONDS: number
    standing(relay: RelayLine, now: number): Standing
    facts(info: RelayInfo): Fact[]
    put(url: string, name: RelaySwitch, on: boolean): Promise<void>
    reconnect(url: string): Promise<void>
    pause(url: string): Promise<void>
    chooseKey(url: string): Promise<void>
    remove(url: string): void
  }
  outbox: {
    retry(ids: string[]): Promise<void>
    retryWaiting(): Promise<void>
  }
  clients: {cutOff(id: string): void}

  // test.js
  SECONDS: number
  /** Resolves to what `say` makes of a message, unless that is undefined. */
  talk<T>(
    url: string,
    first: string,
    say: (message: any[]) => T | undefined,
    opened?: () => void
  ): Promise<T>
  openEndpoint(): Promise<string>
  failure(error: unknown): string
}

declare const Nostrclient: NostrclientPage
interface Window {
  Nostrclient: NostrclientPage
}
