"""Our database under an extension that knows less of it: a predecessor's, or an older
version's, as after going back.

    back_child.py

The database's folder is LNBITS_DATA_FOLDER. Prints one JSON object.
"""

import asyncio
import json
from types import ModuleType
from typing import Any

from lnbits.core.helpers import run_migration
from lnbits.core.models import DbVersion
from lnbits.db import Connection, Database
from pydantic import BaseModel

import migrations


class Relay(BaseModel):
    """All that the predecessor knows of one."""

    id: str
    url: str
    active: bool = True


class Config(BaseModel):
    """The same, of the settings."""

    private_ws: bool = True
    public_ws: bool = False


class UserConfig(BaseModel):
    owner_id: str
    extra: Config = Config()


async def run() -> dict[str, Any]:
    db = Database("ext_nostrclient")
    ours = {
        int(name[1:4]): migrate
        for name, migrate in vars(migrations).items()
        if name.startswith("m0")
    }
    ran = []
    async with db.connect() as connection:
        for number in sorted(ours):
            await ours[number](connection)
        await connection.execute("""
            INSERT INTO nostrclient.relays (id, url, active, read, write)
            VALUES ('ours', 'wss://ours.example', true, true, false)
            """)
        extra = '{"private_ws": false, "public_ws": true, "outbox_size": 7}'
        await connection.execute(
            "INSERT INTO nostrclient.config (extra) VALUES (:extra)", {"extra": extra}
        )

        async def again(_: Connection) -> None:
            ran.append("again")

        theirs = ModuleType("migrations")
        vars(theirs).update({f"m00{number}_its_own": again for number in (1, 2, 3)})
        newest = DbVersion(db="nostrclient", version=max(ours))
        await run_migration(connection, theirs, "nostrclient", newest)

        await connection.insert("nostrclient.relays", Relay(id="its", url="wss://its"))
        relays = await connection.fetchall(
            "SELECT * FROM nostrclient.relays ORDER BY id", model=Relay
        )
        config = await connection.fetchone(
            "SELECT * FROM nostrclient.config", model=UserConfig
        )
        switches = await connection.fetchone(
            "SELECT read, write FROM nostrclient.relays WHERE id = 'its'"
        )
    return {
        "ran": ran,
        "relays": [relay.dict() for relay in relays],
        "config": config.dict() if config else None,
        "switches": [bool(value) for value in dict(switches or {}).values()],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run())))
