"""Keys, events and direct messages as other extensions of the same process use them, with
nostr_sdk as the one they have to get on with. No LNbits is needed."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import nostr_sdk
import nostrclient_ext
import pytest
from nostrclient_ext.helpers import normalize_public_key
from nostrclient_ext.nostr.event import EncryptedDirectMessage, Event, EventKind
from nostrclient_ext.nostr.key import PrivateKey, PublicKey

from support.events import Author, event_id

ODD = "\x00\t\n\x1f\"'\\/\x7fé\u2028\ufffd🦩"
TEXTS = ["", "hello", ODD, "x" * 15, "x" * 16, "x" * 100_000]
OFF_CURVE = f"{5:064x}"  # the x of no point


def their_keys(key: PrivateKey) -> nostr_sdk.Keys:
    return nostr_sdk.Keys.parse(key.hex())


def received(event: dict[str, Any]) -> Event:
    """An event as an extension rebuilds it from what came over the wire."""
    return Event(
        content=event["content"],
        public_key=event["pubkey"],
        created_at=event["created_at"],
        kind=event["kind"],
        tags=event["tags"],
        signature=event["sig"],
    )


def signed(key: PrivateKey, **fields: Any) -> Event:
    event = Event(**{"content": "hello", **fields})
    key.sign_event(event)
    return event


# --- Events ----------------------------------------------------------------------------

EVENTS: list[dict[str, Any]] = [
    *({"content": text} for text in TEXTS),
    *({"kind": kind} for kind in (0, 5, 1059, 20_000, 30_023, 65_535, EventKind.DELETE)),
    {"created_at": 0, "content": "", "kind": EventKind.SET_METADATA},
    {"tags": [["p", "a" * 64], ["t", ODD, "", "more"], ["-"]]},
]


@pytest.mark.parametrize("fields", EVENTS)
def test_what_is_signed_here_is_right_there(fields: dict[str, Any]) -> None:
    key = PrivateKey()
    event = signed(key, **fields)
    assert event.public_key == key.public_key.hex()
    assert event.verify()
    verb, sent = json.loads(event.to_message())
    assert verb == "EVENT"
    assert nostr_sdk.Event.from_json(json.dumps(sent)).verify()
    names = ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"]
    assert list(sent) == names
    assert sent["id"] == event.id == event_id(sent)
    assert {name: sent[name] for name in fields} == fields


@pytest.mark.parametrize("fields", EVENTS)
def test_what_is_signed_there_is_right_here(fields: dict[str, Any]) -> None:
    sent = Author().sign(**{"content": "hello", **fields})
    event = received(sent)
    assert event.id == sent["id"]
    assert event.verify()


def test_an_event_that_was_changed_is_not_right() -> None:
    changes: dict[str, Any] = {
        "content": "good bye",
        "public_key": PrivateKey().public_key.hex(),
        "created_at": 1,
        "kind": 7,
        "tags": [["t", "x"]],
        "signature": "0" * 128,
    }
    for name, value in changes.items():
        event = signed(PrivateKey(), created_at=2)
        setattr(event, name, value)
        assert not event.verify(), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("signature", value) for value in (None, "", "00", "g" * 128, "é", 5, b"0")),
        *(
            ("public_key", value)
            for value in (None, "", "0" * 64, OFF_CURVE, "\ud800", 5)
        ),
        *(("content", value) for value in (None, "\ud800", b"", 5)),
        *(("created_at", value) for value in (None, -1, 1.5, "1", 2**64)),
        *(("kind", value) for value in (None, -1, 1.5, "1", 65_536)),
        *(("tags", value) for value in (None, "t", ["t"], [["t", 1]], [["\ud800"]])),
    ],
)
def test_a_malformed_event_is_not_right_and_has_no_id(name: str, value: Any) -> None:
    event = signed(PrivateKey())
    setattr(event, name, value)
    assert event.verify() is False
    if name in ("content", "created_at", "kind", "tags"):
        with pytest.raises(ValueError, match=r"[A-Z].*\."):
            _ = event.id
        with pytest.raises(ValueError, match=r"[A-Z].*\."):
            event.to_message()


def test_an_event_is_made_by_place_or_by_name() -> None:
    before = int(time.time())
    tags = [["t", "x"]]
    event = Event("hello", "a" * 64, 7, 30_023, tags, "b" * 128)
    assert event == Event(
        content="hello",
        public_key="a" * 64,
        created_at=7,
        kind=30_023,
        tags=tags,
        signature="b" * 128,
    )
    assert list(EventKind) == [0, 1, 2, 3, 4, 5]
    plain = Event()
    assert plain.created_at is not None
    assert before <= plain.created_at <= int(time.time())
    assert (plain.content, plain.public_key, plain.signature) == (None, None, None)
    assert plain.kind == EventKind.TEXT_NOTE
    plain.add_pubkey_ref("a" * 64)
    plain.add_event_ref("b" * 64)
    assert plain.tags == [["p", "a" * 64], ["e", "b" * 64]]
    assert Event().tags == []
    wrong: Any
    for wrong in (b"hello", 5, ["hello"]):
        with pytest.raises(TypeError):
            Event(wrong)


def test_the_id_is_that_of_the_event_as_it_is_now() -> None:
    event = Event("", "a" * 64, 0, EventKind.SET_METADATA)
    first = event.id
    assert (
        Event.serialize("a" * 64, 0, 0, [], "") == f'[0,"{"a" * 64}",0,0,[],""]'.encode()
    )
    assert Event.compute_id("a" * 64, 0, 0, [], "") == first
    event.content = ODD
    event.tags.append(["t", ODD])
    assert event.id != first
    fields = {"pubkey": "a" * 64, "created_at": 0, "kind": 0}
    assert event.id == event_id({**fields, "tags": event.tags, "content": ODD})


# --- Direct messages -------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_direct_messages_are_read_here_and_there(text: str) -> None:
    ours, others = PrivateKey(), PrivateKey()
    our_keys, theirs = their_keys(ours), their_keys(others)
    messages = [
        ours.encrypt_message(text, others.public_key.hex()),
        nostr_sdk.nip04_encrypt(our_keys.secret_key(), theirs.public_key(), text),
        nostr_sdk.nip04_encrypt(theirs.secret_key(), our_keys.public_key(), text),
    ]
    for message in messages:
        assert ours.decrypt_message(message, others.public_key.hex()) == text
        assert others.decrypt_message(message, ours.public_key.bech32()) == text
        for one, other in ((our_keys, theirs), (theirs, our_keys)):
            read = nostr_sdk.nip04_decrypt(one.secret_key(), other.public_key(), message)
            assert read == text
    secret = ours.compute_shared_secret(others.public_key.hex())
    assert len(secret) == 32
    assert others.compute_shared_secret(ours.public_key.hex().upper()) == secret


@pytest.mark.parametrize("by_place", [True, False])
def test_a_direct_message_is_encrypted_when_it_is_signed(by_place: bool) -> None:
    key, others = PrivateKey(), PrivateKey()
    recipient = others.public_key.hex()
    if by_place:
        message = EncryptedDirectMessage("hello", recipient_pubkey=recipient)
    else:
        message = EncryptedDirectMessage(
            recipient_pubkey=recipient,
            cleartext_content="hello",
            reference_event_id="e" * 64,
        )
    assert (message.content, message.cleartext_content) == (None, "hello")
    assert message.kind == EventKind.ENCRYPTED_DIRECT_MESSAGE
    assert message.tags == [["p", recipient], ["e", "e" * 64]][: 1 if by_place else 2]
    assert "hello" not in repr(message)
    with pytest.raises(ValueError, match="encrypted"):
        _ = message.id
    assert message.verify() is False
    key.sign_event(message)
    assert message.verify()
    content = message.content
    assert content is not None and message.cleartext_content == "hello"
    assert others.decrypt_message(content, key.public_key.hex()) == "hello"
    key.sign_event(message)  # the content is there, and stays
    assert message.content == content and message.verify()


def test_a_direct_message_needs_a_recipient_and_a_text() -> None:
    with pytest.raises(ValueError, match="recipient"):
        EncryptedDirectMessage("hello")
    key = PrivateKey()
    empty = EncryptedDirectMessage(recipient_pubkey=key.public_key.hex())
    bare = Event(kind=EventKind.ENCRYPTED_DIRECT_MESSAGE)
    for event in (empty, bare):
        with pytest.raises(ValueError, match="no text"):
            key.sign_event(event)
        assert event.signature is None


# --- Keys ------------------------------------------------------------------------------


def test_keys_are_spelled_as_there() -> None:
    key = PrivateKey()
    theirs, public = their_keys(key), key.public_key
    assert key.hex() == key.raw_secret.hex() == theirs.secret_key().to_hex()
    assert key.bech32() == theirs.secret_key().to_bech32()
    assert public.hex() == public.raw_bytes.hex() == theirs.public_key().to_hex()
    assert public.bech32() == theirs.public_key().to_bech32()
    assert PrivateKey.from_nsec(key.bech32()) == key == PrivateKey(key.raw_secret)
    assert PublicKey.from_npub(public.bech32()) == public == PublicKey(public.raw_bytes)
    for text in (public.hex(), public.bech32()):
        assert normalize_public_key(text) == public.hex()
        assert normalize_public_key(f" {text.upper()}\n") == public.hex()


def test_equal_keys_are_one_in_a_set_and_others_are_not() -> None:
    key = PrivateKey()
    same, other = PrivateKey(key.raw_secret), PrivateKey()
    assert key == same and hash(key) == hash(same) and len({key, same, other}) == 2
    stranger: Any
    for stranger in (other, None, 5, key.hex(), key.raw_secret, key.public_key):
        assert (key == stranger) is False
        assert key != stranger


def test_a_hash_is_signed_here_and_checked_there_and_the_other_way_round() -> None:
    key, message_hash = PrivateKey(), bytes(range(32))
    theirs, public = their_keys(key), key.public_key
    signatures = {key.sign_message_hash(message_hash) for _ in range(2)}
    assert len(signatures) == 2
    for signature in (*signatures, theirs.sign_schnorr(message_hash)):
        assert public.verify_signed_message_hash(message_hash.hex(), signature)
        assert public.verify_signed_message_hash(
            hash=message_hash.hex().upper(), sig=signature.upper()
        )
        assert not public.verify_signed_message_hash("0" * 64, signature)
        other = PrivateKey().public_key
        assert not other.verify_signed_message_hash(message_hash.hex(), signature)
    wrong: Any
    for wrong in ("", "00", "g" * 128, "0" * 128, "\ud800", None, b"0"):
        assert public.verify_signed_message_hash(message_hash.hex(), wrong) is False
        assert public.verify_signed_message_hash(wrong, "0" * 128) is False
    off_curve = PublicKey(bytes.fromhex(OFF_CURVE))
    assert off_curve.verify_signed_message_hash("0" * 64, "0" * 128) is False


def test_worker_threads_may_use_one_key() -> None:
    key = PrivateKey()
    with ThreadPoolExecutor(8) as threads:
        events = list(threads.map(lambda number: signed(key, kind=number), range(200)))
    assert all(event.verify() for event in events)


# --- How they are imported -------------------------------------------------------------


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModuleType]]:
    """Two more copies of the key module, under names that LNbits gives."""
    before = set(sys.modules)
    modules = []
    for name in ("nostrclient-0a1b", "nostrclient"):
        package = ModuleType(name)
        package.__path__ = list(nostrclient_ext.__path__)
        monkeypatch.setitem(sys.modules, name, package)
        modules.append(importlib.import_module(f"{name}.nostr.key"))
    yield modules
    for name in set(sys.modules) - before:
        if name.startswith("nostrclient"):
            sys.modules.pop(name)


def test_copies_of_the_extension_take_each_others_events(
    copies: list[ModuleType],
) -> None:
    stale, new = copies
    assert stale.PrivateKey is not new.PrivateKey
    receiver = PrivateKey()
    key, recipient = new.PrivateKey(receiver.raw_secret), receiver.public_key.hex()
    message = stale.EncryptedDirectMessage("hello", recipient_pubkey=recipient)
    key.sign_event(message)
    assert message.verify()
    assert receiver.decrypt_message(message.content, recipient) == "hello"


def test_they_are_imported_where_there_is_no_core() -> None:
    """And fail only when they are used."""
    program = (
        "import sys\n"
        "sys.modules['nostrclient_core'] = None\n"
        "from nostrclient_ext.helpers import normalize_public_key\n"
        "from nostrclient_ext.nostr.event import EncryptedDirectMessage, Event\n"
        "from nostrclient_ext.nostr.key import PrivateKey, PublicKey\n"
        "assert Event('hello').created_at and PublicKey(bytes(32)).hex()\n"
        "try:\n"
        "    PrivateKey()\n"
        "except Exception as exc:\n"
        "    print(type(exc).__name__)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(nostrclient_ext.__path__[0]).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip()
