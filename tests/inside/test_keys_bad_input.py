"""Keys and messages that are no good: a sentence says so, and no secret is told."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loguru import logger
from nostrclient_ext.helpers import normalize_public_key
from nostrclient_ext.nostr.event import Event
from nostrclient_ext.nostr.key import PrivateKey, PublicKey

OFF_CURVE = f"{5:064x}"  # the x of no point
SENTENCE = re.compile(r"[A-Z].*\.")
# Printable, so that no log cuts it short.
KEY = PrivateKey(b"This is what nobody may be told.")
NSEC, NPUB = KEY.bech32(), KEY.public_key.bech32()
PUBLIC = KEY.public_key.hex()
MESSAGE = KEY.encrypt_message("hello", PUBLIC)
BODY, IV = MESSAGE.split("?iv=")


def untyped(value: object) -> Any:
    """What no type checker would let through."""
    return value


NONE = untyped(None)

# What is handed over may be a secret itself.
GIVEN: dict[str, Callable[[], object]] = {
    "a private key of 31 bytes": lambda: PrivateKey(KEY.raw_secret[1:]),
    "a private key of 33 bytes": lambda: PrivateKey(KEY.raw_secret + b"0"),
    "a private key in hex": lambda: PrivateKey(untyped(KEY.hex())),
    "zero": lambda: PrivateKey(bytes(32)),
    "more than the order": lambda: PrivateKey(b"\xff" * 32),
    "an nsec with a mistake": lambda: PrivateKey.from_nsec(NSEC[:-1] + "b"),
    "an nsec that is cut": lambda: PrivateKey.from_nsec(NSEC[:-1]),
    "an nsec that is no text": lambda: PrivateKey.from_nsec(NSEC + "\ud800"),
    "an nsec in hex": lambda: PrivateKey.from_nsec(KEY.hex()),
    "an npub as nsec": lambda: PrivateKey.from_nsec(NPUB),
    "no nsec": lambda: PrivateKey.from_nsec(NONE),
    "a public key of 33 bytes": lambda: PublicKey(b"\2" + KEY.public_key.raw_bytes),
    "a public key in hex": lambda: PublicKey(untyped(PUBLIC)),
    "no point, as npub": lambda: PublicKey(bytes.fromhex(OFF_CURVE)).bech32(),
    "an npub with a mistake": lambda: PublicKey.from_npub(NPUB[:-1] + "b"),
    "an npub in hex": lambda: PublicKey.from_npub(PUBLIC),
    "an nsec as npub": lambda: PublicKey.from_npub(NSEC),
    "no npub": lambda: PublicKey.from_npub(NONE),
    "no public key": lambda: normalize_public_key(NONE),
    "an empty public key": lambda: normalize_public_key(""),
    "no point": lambda: normalize_public_key(OFF_CURVE),
    "an nsec as public key": lambda: normalize_public_key(NSEC),
    "an nsec as receiver": lambda: KEY.encrypt_message("hello", NSEC),
    "a public key that is cut": lambda: normalize_public_key(PUBLIC[1:]),
}

# Only the key that is asked is a secret.
HELD: dict[str, Callable[[], object]] = {
    "sign a hash of 31 bytes": lambda: KEY.sign_message_hash(bytes(31)),
    "sign a hash in hex": lambda: KEY.sign_message_hash(untyped("0" * 64)),
    "sign no hash": lambda: KEY.sign_message_hash(NONE),
    "encrypt for no point": lambda: KEY.encrypt_message("hello", OFF_CURVE),
    "encrypt no text": lambda: KEY.encrypt_message(NONE, PUBLIC),
    "encrypt a surrogate": lambda: KEY.encrypt_message("\ud800", PUBLIC),
    "share a secret with no point": lambda: KEY.compute_shared_secret(OFF_CURVE),
    "decrypt from no point": lambda: KEY.decrypt_message(MESSAGE, OFF_CURVE),
    "decrypt no text": lambda: KEY.decrypt_message(NONE, PUBLIC),
    "decrypt nothing": lambda: KEY.decrypt_message("", PUBLIC),
    "decrypt plain text": lambda: KEY.decrypt_message("hello", PUBLIC),
    "decrypt a surrogate": lambda: KEY.decrypt_message(MESSAGE + "\ud800", PUBLIC),
    "decrypt junk": lambda: KEY.decrypt_message(f"!?iv={IV}", PUBLIC),
    "decrypt without a block": lambda: KEY.decrypt_message(f"?iv={IV}", PUBLIC),
    "decrypt half a block": lambda: KEY.decrypt_message(f"AAAA?iv={IV}", PUBLIC),
    "decrypt with no iv": lambda: KEY.decrypt_message(f"{BODY}?iv=", PUBLIC),
    "decrypt with a short iv": lambda: KEY.decrypt_message(f"{BODY}?iv=AAAA", PUBLIC),
    "decrypt with two ivs": lambda: KEY.decrypt_message(f"{MESSAGE}?iv={IV}", PUBLIC),
    "decrypt with other keys": lambda: PrivateKey().decrypt_message(MESSAGE, PUBLIC),
    "decrypt megabytes": lambda: KEY.decrypt_message(f"{'A' * 2**21}?iv={IV}", PUBLIC),
    "sign an event without content": lambda: KEY.sign_event(Event()),
    "sign a kind that is none": lambda: KEY.sign_event(Event("", kind=-1)),
}


REFUSED = {**GIVEN, **HELD}


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and all that it drags along."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def secrets_of(key: PrivateKey) -> list[str]:
    shared = key.compute_shared_secret(PUBLIC)
    parts = [key.raw_secret, shared]
    texts = [text for part in parts for text in (part.hex(), repr(part)[2:-1])]
    return [*texts, key.bech32()[:-1]]


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_a_sentence_that_tells_no_secret(name: str) -> None:
    with pytest.raises(ValueError) as refusal:
        REFUSED[name]()
    assert SENTENCE.fullmatch(str(refusal.value))
    said = "".join(f"{error} {error!r} {vars(error)}" for error in chain(refusal.value))
    for secret in (*secrets_of(KEY), KEY.hex()[2:], repr(KEY.raw_secret[1:])):
        assert secret not in said


def test_nothing_that_shows_a_key_shows_the_secret() -> None:
    event = Event("hello")
    KEY.sign_event(event)
    shown = "".join((repr(KEY), str(KEY), f"{KEY}", repr(KEY.sign_event), repr(event)))
    # Loguru writes the values of what is named in the lines of a traceback.
    log: list[str] = []
    sink = logger.add(log.append, level="ERROR", diagnose=True, backtrace=False)
    try:
        for call in HELD.values():
            with logger.catch():
                call()
    finally:
        logger.remove(sink)
    assert len(log) == len(HELD)
    # The core's own kind of `ValueError`, or Python's.
    assert all("WrongInput" in line or "ValueError" in line for line in log)
    for secret in secrets_of(KEY):
        assert secret not in shown
        assert secret not in "".join(log)
