"""The status as another extension of the same process asks for it, from a thread.

    status_child.py

The database's folder is LNBITS_DATA_FOLDER. Prints one JSON object.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

NOWHERE = ["ws://127.0.0.1:9", "ws://127.0.0.1:10"]  # nobody listens there


async def run() -> dict[str, Any]:
    """Before the core runs, while an event waits, and after its end."""
    from nostrclient_ext.core import running as core
    from nostrclient_ext.core.library import CoreUnavailable
    from nostrclient_ext.outbox.rows import OutboxRows
    from nostrclient_ext.status import nostr_status

    from migrations import m005_outbox

    async with OutboxRows("the only node")._db.connect() as connection:
        await m005_outbox(connection)

    async def asked() -> Any:
        try:
            return (await asyncio.to_thread(nostr_status)).dict()
        except CoreUnavailable as exc:
            return str(exc)

    seen = {"before": await asked()}
    running = core.start()
    assert running is not None
    running.spawn(running.outbox.keep())
    await running.outbox.tried.wait()
    for url in NOWHERE:
        running.core.add_relay(url)
    seen["empty"] = await asked()
    connection = running.bridge.connect()
    key = running.library.generate_key()["private_key"]
    event = running.library.sign_event(key, 1, 1, [], "")
    connection.client.feed(f'["EVENT",{event}]')
    while not connection.client.drain(1):
        connection.outgoing.clear()
        await connection.outgoing.wait()
    seen["one waits"] = await asked()
    core.stop()
    seen["after"] = await asked()
    return seen


def main() -> None:
    """See the module's text."""
    repository = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(repository), str(repository / "python")]
    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
