"""The core and the keeper of its rows, without LNbits around them, to be killed.

    crash_child.py

For every number on standard input it forks a process, prints `pid N`, and `over` when
that one has ended. The process opens the database in LNBITS_DATA_FOLDER, prints `has ID`
for every event it finds in its outbox, then `ready`, and publishes that many events with
no relay in reach, more than the outbox takes. It prints `sent ID`, `yes ID` and `no ID`
as it goes. The fork saves the seconds that importing LNbits' database takes.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

NOWHERE = "ws://127.0.0.1:9"  # nobody listens there


def say(*words: object) -> None:
    """At once and whole, or the kill would take it along."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def run(count: int) -> None:
    """One life. Ends by being killed."""
    from nostrclient_ext.outbox.keeper import OutboxKeeper

    import nostrclient_core
    from nostrclient_core.bridge import Bridge

    core = nostrclient_core.Core()
    bridge = Bridge(core)
    keeper = OutboxKeeper(nostrclient_core, bridge, "the only node")
    keeping = asyncio.create_task(keeper.keep())
    await keeper.tried.wait()
    core.add_relay(NOWHERE)
    entries = await asyncio.to_thread(core.outbox)
    for entry in entries:
        say("has", entry["id"])
    core.set_outbox_size(len(entries) + count * 3 // 4)
    assert keeper.problem is None
    connection = bridge.connect()
    say("ready")
    key = nostrclient_core.generate_key()["private_key"]
    for number in range(count):
        event = nostrclient_core.sign_event(
            key, int(time.time()), 1, [], f"<b>{number}</b>"
        )
        say("sent", json.loads(event)["id"])
        connection.client.feed(f'["EVENT",{event}]')
        answer(connection.client.drain(1_000))
        if number % 4 == 0:
            await asyncio.sleep(0)
    while True:
        connection.outgoing.clear()
        answer(connection.client.drain(1_000))
        await connection.outgoing.wait()
        assert not keeping.done()


def answer(messages: list[str]) -> None:
    """Pass on what the core has promised."""
    for message in messages:
        verb, event_id, accepted, _why = json.loads(message)
        assert verb == "OK", message
        say("yes" if accepted else "no", event_id)


async def make_table() -> None:
    """The outbox's table, as LNbits makes it."""
    from lnbits.db import Database

    from migrations import m005_outbox

    database = Database("ext_nostrclient")
    async with database.connect() as connection:
        await m005_outbox(connection)
    await database.engine.dispose()


def main() -> None:
    """See the module's text. The database's folder is LNBITS_DATA_FOLDER."""
    repository = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(repository), str(repository / "python")]
    import nostrclient_ext.outbox.keeper  # noqa: F401 (what every life needs, imported once)

    asyncio.run(make_table())
    say("imported")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            say("pid", os.getpid())  # the parent's would come among what the child says
            asyncio.run(run(int(line)))
        os.waitpid(child, 0)
        say("over")


if __name__ == "__main__":
    main()
