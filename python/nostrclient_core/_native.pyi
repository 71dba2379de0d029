"""The Rust core. Nothing here blocks on the network and nothing here awaits."""

from typing import final

from .shapes import (
    About,
    ClientStatus,
    KeyPair,
    Limits,
    Offer,
    OutboxEntry,
    OutboxRow,
    OutsideClient,
    RelayStatus,
    Stats,
    StoreTask,
    Told,
)

__all__ = [
    "STORE",
    "Client",
    "Core",
    "CoreBusy",
    "CoreStopped",
    "Memory",
    "TooManyClients",
    "WrongInput",
    "__version__",
    "decrypt_nip04",
    "encrypt_nip04",
    "event_id",
    "from_npub",
    "from_nsec",
    "generate_key",
    "normalize_public_key",
    "normalize_relay_url",
    "public_key",
    "read_proxy_url",
    "serialize_event",
    "shared_secret",
    "sign_event",
    "sign_hash",
    "to_npub",
    "to_nsec",
    "verify_event",
    "verify_hash",
]

__version__: str

STORE: int
"""What `Core.ready()` names when `Core.store_task()` has something. No client's token."""

# Each exception has a code beside its text, and nothing is to be decided by the text.

class CoreStopped(RuntimeError):
    """The core has been stopped; start a new one."""

    code: str  # "stopped"

class CoreBusy(RuntimeError):
    """Too many calls wait for the core; try again."""

    code: str  # "busy"

class TooManyClients(RuntimeError):
    """The limit of clients in all is reached."""

    code: str  # "too_many_clients"

class WrongInput(ValueError):
    """What is given is no good. Wherever `ValueError` is named below, it is this one."""

    code: str
    """What of it: "url", "proxy", "no_proxy", "descriptor", "limit", "lease", "event_id",
    "private_key", "public_key", "nsec", "npub", "message", "text", "created_at", "kind",
    "tags", "hash" or "event"; or "random", if the system has no random numbers."""

@final
class Client:
    """One client's connection to the multiplexer, the core's end of it.

    `feed` and `drain` are called by one task each; every method is thread-safe.
    """

    token: int
    """Names this client in `Core.ready()`. Never used again."""

    @property
    def writable(self) -> bool:
        """Whether `feed` may be called. False after `feed` returned False, until
        `ready()` has named this client again and the inbox has room."""

    @property
    def closed(self) -> tuple[int, str] | None:
        """WebSocket close code and reason once the core has cut this client off."""

    def feed(self, text: str) -> bool:
        """Hand over one text message as soon as it is read. Always taken. False: call no
        more until `writable` is true again."""

    def feed_binary(self) -> bool:
        """The same for a binary message, which the client is told nobody understands."""

    def drain(self, most: int) -> list[str]:
        """The messages waiting for this client, oldest first: at most `most`, and none
        after 256 KiB. What is left over, nobody is woken for."""

    def status(self) -> ClientStatus:
        """Its numbers as they are now."""

    def cut_off(self, why: str) -> None:
        """End this client from here: `closed` is 1008 and `why`, of which 100 bytes are
        kept, unless it was closed before. Its subscriptions end; what it said before
        still counts. The socket is for the caller to close. Idempotent."""
    # For clients from `Core.connect_inside()`:
    def drain_parts(self, most: int) -> list[Told]:
        """As `drain`, read already."""

    def resume(self, req: str, since: int, whole: bool) -> bool:
        """As `feed`, for a REQ that goes on with one that has had its EOSE. `whole`: all
        that came before `since` (unix seconds) has been delivered; else that is when it
        was opened, and it is asked for from the beginning. There is no second EOSE, and
        no ephemeral event that is replayed."""

    def disconnect(self) -> None:
        """The client is gone: ends its subscriptions. Also on garbage collection."""

@final
class Memory:
    """Which events somebody has been given. Outlives a core. Thread-safe, and bounded:
    what it has forgotten it takes for given."""

    def __new__(cls) -> Memory: ...
    def insert(self, id: str, created_at: int) -> bool:  # noqa: A002
        """Note that this event (64 hex, unix seconds) is given. False: it was before, or
        may have been. Raises `ValueError` for what is no id."""

@final
class Core:
    """The running multiplexer: its own threads, one connection per relay.

    `secret`: 32 bytes by which this server knows itself, in all its processes. Raises
    `ValueError` for a limit that is zero or negative.
    """

    def __new__(
        cls, limits: Limits | None = None, secret: bytes | None = None
    ) -> Core: ...
    @property
    def wake_fd(self) -> int:
        """Readable when `ready()` has something to tell. For `loop.add_reader`."""

    @property
    def limits(self) -> Limits: ...
    @property
    def badge(self) -> str:
        """What an endpoint shows in the header `Nostrclient` when a WebSocket opens, so
        that the core at the other end knows itself, or another server of this extension.
        It is another one each time."""

    def peer(self, agent: str) -> str:
        """Who the client is that calls itself this (`User-Agent`): "itself", this very
        server, "sibling", another server of this extension, or "other"."""

    def ready(self) -> list[int]:
        """Tokens of the clients that have messages waiting, became writable or were
        closed since the last call. Never blocks; makes `wake_fd` unreadable."""

    def beat(self) -> None:
        """Whoever reads the clients' sockets is at it. Once begun, more than two seconds
        without a beat count as a standstill, sleep of the machine included: ephemeral
        events that are read first after it are refused, since they may be as old."""

    def connect(
        self,
        public: bool = True,
        hosts: list[str] = ...,
        sibling: bool = False,
        about: About | None = None,
    ) -> Client:
        """Admit a client whose messages the caller reads and writes. `public`: by the
        endpoint that is for everybody, or for those on the list. `hosts`: what it may
        have called this server, each a url or host[:port]; one of them it has to name to
        authenticate (NIP-42). `sibling`: it is another server of this extension. `about`:
        for `clients`. Raises `TooManyClients` or `CoreStopped`."""

    def serve(
        self,
        offer: Offer,
        *,
        public: bool = True,
        hosts: list[str] = ...,
        sibling: bool = False,
        about: About | None = None,
    ) -> int:
        """Admit a client with its socket, of which a duplicate is made: from now on the
        core alone reads and writes it. The rest as `connect`. Returns its token. Raises
        as `connect`, or `OSError`: then nothing was read or written."""

    def clients(self) -> list[OutsideClient]:
        """The clients outside of this process."""

    def cut_off(self, token: int, why: str) -> bool:
        """As `Client.cut_off`, for a client outside. False: there is none of this
        token."""

    def set_public_allowed(self, keys: list[str]) -> None:
        """Who may use the public endpoint from now on: public keys, 64 lowercase hex.
        None: everybody. Subscriptions of clients that may no more end. Raises
        `ValueError`, `CoreStopped` or `CoreBusy`."""

    def connect_inside(self) -> Client:
        """Admit a client inside this process, which the limits are not meant for. It is
        told what its relays say for people, and when they connect. Raises as
        `connect`."""

    def use_relays(self, client: Client, urls: list[str]) -> None:
        """From now on this client from `connect_inside` subscribes at these relays and
        publishes to them, and to no others. Those the owner has not configured are
        connected to for as long as some client wants them. What it has subscribed to
        before stays where it is. Raises `ValueError` with a sentence for a wrong url, and
        changes nothing then.
        """

    def add_relay(self, url: str, read: bool = True, write: bool = True) -> bool:
        """Connect to a relay and keep it connected. False: already there (its switches
        are set all the same). Raises `ValueError` with a sentence for a wrong url."""

    def set_relay_key(self, url: str, private_key: str | None = None) -> None:
        """Who we are to a relay that wants to know (NIP-42): the owner of this key (64
        hex), or nobody. For a relay that is yet to be added too. Raises `ValueError`,
        which never tells the key."""

    def set_public_reads(self, on: bool) -> None:
        """Whether public clients read through connections that are authenticated with a
        key; at first they do not. Raises `CoreStopped` or `CoreBusy`."""

    def remove_relay(self, url: str) -> bool:
        """False: there was none."""

    def reconnect(self, url: str | None = None, anew: bool = False) -> None:
        """Try the relays that wait for their next attempt now (all, or one). `anew`:
        disconnect those that are connected and connect again at once."""

    def set_relay_limits(
        self,
        url: str,
        *,
        max_subscriptions: int | None = None,
        max_filters: int | None = None,
        max_message_length: int | None = None,
        max_limit: int | None = None,
        nips: list[int] | None = None,
    ) -> None:
        """What a relay's own document (NIP-11) says it takes and does, instead of what it
        said before; of `nips`, 45 and 50 tell something. None: nothing; and so counts
        what makes no sense, as zero. Nothing is kept of a relay that is not there. Raises
        `ValueError` for a wrong url, `OverflowError` for what has more than 64 bits,
        `CoreStopped` or `CoreBusy`."""

    def set_relay_sibling(self, url: str, sibling: bool) -> None:
        """Whether a relay's own document says that it is another server of this
        extension. Raises as `set_relay_limits`."""

    def set_proxy(self, url: str | None, for_all: bool) -> None:
        """The SOCKS5 proxy for `.onion` relays, which are reached no other way, and for
        all relays that are not on this machine if it is for all. Relays to which another
        way leads now connect anew at once. Raises `ValueError` with a sentence that
        quotes nothing, and changes nothing then."""

    def proxy_for(self, url: str) -> str | None:
        """The url of the proxy, password and all, through which this relay is reached;
        None: directly. Raises `ValueError` with a sentence for a `.onion` relay while
        there is no proxy, and for a wrong url."""

    def relays(self) -> list[RelayStatus]: ...
    def relay(self, url: str) -> RelayStatus | None:
        """One of them, in whatever spelling. None: it is not there."""

    def history(self) -> list[tuple[int, int, int, int]]:
        """What happened in each of the last 300 seconds, oldest first: unix second,
        events received from relays, delivered to clients and published by clients. A
        second in which nothing did is left out."""

    def stats(self) -> Stats: ...

    # The outbox (rules 2). The core decides, Python stores: `store_task` says what is to
    # be written, `outbox_stored` that it was. All below may raise `CoreStopped` or
    # `CoreBusy`.

    def store_task(self) -> StoreTask | None:
        """What is to be done with the database, once `ready()` has named `STORE`; call it
        until it gives None. The next one to write comes when this one was answered. At
        the start the rows are to be read."""

    def outbox_stored(
        self,
        number: int,
        error: str | None = None,
        certain: bool = True,
        elsewhere: list[str] = ...,
    ) -> None:
        """The task of this number is durable, but for the rows `elsewhere`, which another
        node holds; or it failed with `error`, a few words for clients and the owner.
        Certain: nothing of it was written. Not certain: nobody knows."""

    def outbox_adopt(self, rows: list[OutboxRow]) -> list[tuple[str, str]]:
        """These rows are this node's from now on. Every signature is verified again, so
        call it from a thread. Returns ids of rows that are no good, and why; they are
        not taken. Nothing is queued before the first call, which may be with no rows."""

    def outbox_let_go(self, ids: list[str]) -> None:
        """These rows are this node's no longer: nothing is done with them any more."""

    def outbox_lease(self, seconds: float | None) -> None:
        """What waits may be sent this long from now on. None (also at the start): as long
        as the core runs."""

    @property
    def outbox_size(self) -> int:
        """How many events may be queued."""

    def set_outbox_size(self, size: int) -> None:
        """Set it. What is queued already stays."""

    def outbox(self) -> list[OutboxEntry]:
        """What waits, in the order published, and what was rejected. Waits for the core,
        and so do the next two: call them from a thread."""

    def outbox_retry(self, id: str) -> bool:  # noqa: A002
        """Try this event again, a rejected one too. False: it is not there."""

    def outbox_delete(self, id: str) -> bool:  # noqa: A002
        """Remove this event for good. False: it is not there, or not answered yet."""

    def stop(self, away: bool = False) -> None:
        """Close every client (code 1012; `away`: 1001, since LNbits ends) and relay and
        end every thread. Idempotent; takes at most two seconds and normally a few
        milliseconds."""

def normalize_relay_url(url: str) -> str:
    """The one spelling of a relay's url (scheme and host in lower case, default port and
    trailing slash of an empty path gone). Raises `ValueError` with a sentence."""

def read_proxy_url(url: str) -> tuple[str, str | None]:
    """The one spelling of a SOCKS5 proxy's url without its password,
    `socks5://user@host:port`, and the password as it stands in a url. Raises `ValueError`
    with a sentence that quotes nothing."""

# Keys and events. Private and public keys are 64 hex characters unless a line says
# otherwise. All raise `ValueError` with a sentence, which never quotes what was given.

def generate_key() -> KeyPair:
    """New random keys."""

def public_key(private_key: str) -> str:
    """The x-only public key of a private key."""

def normalize_public_key(text: str) -> str:
    """A public key given as hex or as NIP-19 `npub1…`, as hex in lower case."""

def to_nsec(private_key: str) -> str:
    """`nsec1…` (NIP-19)."""

def from_nsec(nsec: str) -> str:
    """The private key of an `nsec1…`."""

def to_npub(public_key: str) -> str:
    """`npub1…` (NIP-19)."""

def from_npub(npub: str) -> str:
    """The public key of an `npub1…`."""

def shared_secret(private_key: str, public_key: str) -> bytes:
    """The 32 bytes that these two keys' owners can make and nobody else: the x coordinate
    of the ECDH point, not hashed. NIP-04's key."""

def encrypt_nip04(private_key: str, public_key: str, text: str) -> str:
    """NIP-04 content, `base64?iv=base64`."""

def decrypt_nip04(private_key: str, public_key: str, content: str) -> str:
    """The text of a NIP-04 content of at most 1 MiB, which the owner of the public key
    wrote for that of the private key, or the other way round."""

def sign_hash(private_key: str, message_hash: bytes) -> str:
    """The BIP-340 signature of a 32-byte hash, 128 hex. Never the same twice."""

def verify_hash(message_hash: str, signature: str, public_key: str) -> bool:
    """Whether this is the owner's BIP-340 signature of that hash, all in hex. False for
    what is malformed."""

def serialize_event(
    public_key: str,
    created_at: int,
    kind: int,
    tags: list[list[str]],
    content: str,
) -> str:
    """What an event's id is the hash of (NIP-01)."""

def event_id(
    public_key: str,
    created_at: int,
    kind: int,
    tags: list[list[str]],
    content: str,
) -> str:
    """An event's id, 64 hex (NIP-01)."""

def sign_event(
    private_key: str,
    created_at: int,
    kind: int,
    tags: list[list[str]],
    content: str,
) -> str:
    """The signed event as JSON text (NIP-01)."""

def verify_event(event: str) -> bool:
    """Whether this JSON is an event with the right id and signature (NIP-01)."""
