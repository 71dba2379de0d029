"""Two nodes' hands on one table, step by step, without LNbits around them.

    rows_child.py

The database is LNBITS_DATABASE_URL. Prints what each step gave as one JSON object.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


def task(**changes: Any) -> Any:
    """What the core would hand out."""
    nothing: dict[str, Any] = {"insert": [], "update": [], "delete": [], "undo": []}
    return {"number": 1, "within": None, **nothing, **changes}


def row(row_id: str) -> dict[str, Any]:
    event = json.dumps({"id": row_id})
    numbers = {"position": 1, "queued_at": 1}
    return {"id": row_id, "event": event, "state": "queued", "reasons": {}, **numbers}


async def run() -> dict[str, Any]:
    """One node refuses what the other promises."""
    from nostrclient_ext.outbox.rows import OutboxRows, StoreError

    one, two = OutboxRows("one"), OutboxRows("two")
    seen: dict[str, Any] = {}
    await one.write(task(insert=[row("alone"), row("vouched"), row("delivered")]))
    seen["held elsewhere"] = await two.write(
        task(insert=[row("vouched"), row("delivered")])
    )
    await one.write(task(undo=["alone", "vouched"], delete=["delivered"]))
    seen["left"] = [left["id"] for left in await one.mine()]
    # The one who finds it among his own without knowing it sends it.
    seen["kept"] = sorted(await one.renew())
    # A row that somebody has removed stays removed.
    seen["gone"] = await one.write(task(update=[{**row("alone"), "state": "rejected"}]))
    # What nobody waits for any more is not committed.
    try:
        await one.write(task(insert=[row("late")], within=0.0))
    except StoreError as exc:
        seen["late"] = [str(exc), exc.certain]
    seen["at the end"] = sorted(left["id"] for left in await one.others(set()))
    await one.close()
    await two.close()
    return seen


def main() -> None:
    """See the module's text."""
    repository = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(repository), str(repository / "python")]
    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
