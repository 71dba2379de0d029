"""Rule 2.3: `kill -9` at any moment, and every answer that was given stays true.

`CRASH_ROUNDS` sets how often a whole LNbits dies; the core and its rows alone die
`CORE_FACTOR` times as often. What was counted is printed at the end.
"""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest
from nostr_sdk import LocalRelay, RateLimit, RelayBuilder

from scripts.lnbits_server import LNbits, free_port
from support.copied import copy_of
from support.endpoint import Endpoint
from support.events import Author, Event
from support.wire_client import WireClient

pytestmark = pytest.mark.asyncio

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "20"))
CORE_FACTOR = 10
LIVES_SECONDS = 60.0  # no step of a round takes as long
DATABASE = "ext_nostrclient.sqlite3"
EVENTS = 130  # in one life: more than the outbox takes
KEPT = 200  # rows of the core alone, at most, before they are removed


class Ledger:
    """What was promised, over all lives."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.yes: set[str] = set()
        self.no: set[str] = set()
        self.counts: Counter[str] = Counter()

    def note(self, event_id: str, accepted: bool, why: str = "") -> None:
        assert event_id in self.sent and event_id not in self.yes | self.no, event_id
        (self.yes if accepted else self.no).add(event_id)
        self.counts[f"{accepted} {why}".strip()] += 1

    def check(self, there: set[str], where: str) -> None:
        """What is there by now is all that was promised, and nothing that was denied."""
        assert self.yes <= there, f"lost on the way to {where}: {self.yes - there}"
        assert not self.no & there, f"denied, and in {where}: {self.no & there}"
        assert there <= self.sent

    def settle(self, there: set[str]) -> None:
        """These were checked: from now on only what comes counts."""
        unanswered = self.sent - self.yes - self.no
        self.counts["published"] += len(self.sent)
        self.counts["unanswered"] += len(unanswered)
        self.counts["unanswered and there"] += len(unanswered & there)
        for ids in (self.sent, self.yes, self.no):
            ids.clear()

    def report(self, deaths: int) -> None:
        print(f"\n{deaths} deaths; nothing lost, nothing denied arrived; {self.counts}")


# Whole LNbits.


async def start_relay(port: int) -> LocalRelay:
    """A real relay, at the place where the server looks for it."""
    limit = RateLimit(max_reqs=1_000_000, notes_per_minute=1_000_000)
    builder = RelayBuilder().addr("127.0.0.1").port(port).rate_limit(limit)
    relay = LocalRelay(builder.default_filter_limit(100_000))
    await relay.run()
    return relay


async def stored(port: int) -> list[Event]:
    """All that the relay has."""
    async with WireClient(f"ws://127.0.0.1:{port}") as client:
        await client.subscribe("all", {"kinds": [1]})
        return client.events("all")


async def publish_until_killed(
    endpoint: Endpoint, ledger: Ledger, chance: random.Random
) -> None:
    """Publish with every relay down, and die at a random moment of it."""
    client = await endpoint.client()
    author = Author()
    notes = author.notes(EVENTS, "<i>crash</i> &amp;")
    moment = time.monotonic() + chance.uniform(0, 0.06)
    for note in notes:
        ledger.sent.add(note["id"])
        await client.send("EVENT", note)
        if time.monotonic() > moment:
            break
        if chance.random() < 0.1:
            await asyncio.sleep(chance.uniform(0, 0.01))
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    endpoint.lnbits.kill()
    await client.ended()
    for message in client.inbox.items:
        if message.verb == "OK":
            ledger.note(message.parts[1], message.parts[2], message.parts[3])


async def drained(endpoint: Endpoint) -> None:
    """Wait until nothing waits any more."""
    deadline = time.monotonic() + LIVES_SECONDS
    while True:
        response = await endpoint.http.get(f"{endpoint.base}/outbox")
        assert response.status_code == 200, response.text
        outbox = response.json()
        if outbox["queued"] + outbox["in_doubt"] == 0:
            assert outbox["rows"] == []
            return
        assert time.monotonic() < deadline, outbox
        await asyncio.sleep(0.02)


async def live_and_die_often(
    lnbits: LNbits, rounds: int, chance: random.Random
) -> tuple[Ledger, int]:
    """One LNbits and its relay. What was promised and kept, and the number of deaths."""
    port, ledger, arrived, deaths = free_port(), Ledger(), Counter[str](), 0
    relay = await start_relay(port)
    try:
        await asyncio.to_thread(lnbits.start)
        endpoint = Endpoint(lnbits)
        await endpoint.reset()
        url = f"ws://127.0.0.1:{port}"
        assert (await endpoint.add(url)).status_code == 200
        for number in range(rounds):
            await endpoint.until_relay(url, connected=True)
            await endpoint.lose(relay)
            await publish_until_killed(endpoint, ledger, chance)
            await endpoint.close()
            deaths += 1

            relay = await start_relay(port)
            await asyncio.to_thread(lnbits.start)
            endpoint = Endpoint(lnbits)
            if number % 4 == 1:  # once more, in the middle of sending what waited
                await asyncio.sleep(chance.uniform(0, 0.3))
                lnbits.kill()
                await endpoint.close()
                deaths += 1
                await asyncio.to_thread(lnbits.start)
                endpoint = Endpoint(lnbits)
            await drained(endpoint)
            arrived.update(event["id"] for event in await stored(port))
            ledger.check(set(arrived), "the relay")
        assert set(arrived.values()) <= {1}, "stored twice"
        await endpoint.close()
    finally:
        relay.shutdown()
        await asyncio.to_thread(lnbits.kill)
        lnbits.http.close()
    ledger.settle(set(arrived))
    return ledger, deaths


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_a_whole_server_dies(lnbits: LNbits, tmp_path: Path) -> None:
    """Two of them at a time, each for half of the rounds: most of a life is LNbits'
    start, which keeps one processor busy."""
    seed = int(os.environ.get("NOSTRCLIENT_SEED", time.time_ns() % 1_000_000))
    print(f"NOSTRCLIENT_SEED={seed}")
    halves = {"one": ROUNDS - ROUNDS // 2, "two": ROUNDS // 2}
    both = await asyncio.gather(
        *(
            live_and_die_often(
                copy_of(lnbits, tmp_path / name), rounds, random.Random(f"{seed} {name}")
            )
            for name, rounds in halves.items()
        )
    )
    total = Ledger()
    for ledger, _ in both:
        total.counts.update(ledger.counts)
    total.report(sum(deaths for _, deaths in both))
    assert any("queued" in answer for answer in total.counts), "the rounds were too short"


# The core and its rows alone.


class Lives:
    """The process of `crash_child.py`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.database = folder / DATABASE
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crash_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "LNBITS_DATA_FOLDER": str(folder)},
        )
        assert self.line() == ["imported"]

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def line(self) -> list[str]:
        line = self._out.readline().split()
        assert line, "the core has ended by itself"
        return line

    def start(self, count: int) -> int:
        """A new life; its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        word, pid = self.line()
        assert word == "pid"
        return int(pid)

    def clear(self) -> None:
        """Remove all rows, so that lives stay short."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("DELETE FROM outbox")

    def rows(self) -> set[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            return {row[0] for row in connection.execute("SELECT id FROM outbox")}

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.mark.timeout(120 + CORE_FACTOR * ROUNDS)
async def test_the_core_and_its_rows_alone_die(tmp_path: Path) -> None:
    seed = int(os.environ.get("NOSTRCLIENT_SEED", time.time_ns() % 1_000_000))
    print(f"NOSTRCLIENT_SEED={seed}")
    chance = random.Random(seed)
    rounds = CORE_FACTOR * ROUNDS
    lives, ledger = Lives(tmp_path / "data"), Ledger()
    try:
        for _ in range(rounds):
            there = lives.rows()
            ledger.check(there, "the database")
            if len(there) > KEPT:
                ledger.settle(there)
                lives.clear()
                there = set()
            live_and_die(lives, ledger, there, chance)
        there = lives.rows()
        ledger.check(there, "the database")
    finally:
        lives.end()
    ledger.settle(there)
    ledger.report(rounds)
    for answer in ("True", "False", "unanswered"):
        assert ledger.counts[answer] > rounds, "the lives were too short"


def live_and_die(
    lives: Lives, ledger: Ledger, there: set[str], chance: random.Random
) -> None:
    """One life: it has to know every row, and dies at a random moment after that."""
    pid = lives.start(count=40)
    has: set[str] = set()
    while (line := lives.line()) != ["ready"]:
        has.add(line[1])
    assert has == there
    killer = threading.Timer(chance.uniform(0, 0.08), os.kill, (pid, signal.SIGKILL))
    killer.start()
    while (line := lives.line())[0] != "over":
        word, event_id = line
        if word == "sent":
            ledger.sent.add(event_id)
        else:
            ledger.note(event_id, word == "yes")
    killer.join()
