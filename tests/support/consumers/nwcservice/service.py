"""The service's life: LNbits starts and stops it, and it keeps a session going meanwhile.

Settings from the environment: `PORT`, where this LNbits listens, and
`NWCSERVICE_INFO_SECONDS`, how often the service says what it can do (60).
"""

import asyncio
import os

from lnbits.helpers import encrypt_internal_message
from loguru import logger
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from .crud import get_identity, note
from .session import Session

RECONNECT_SECONDS = 0.2
INFO_SECONDS = 60.0


class Service:
    """`start()` and `stop()`, once each."""

    def __init__(self) -> None:
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """What is ordered already is carried out and answered first."""
        self._ending.set()
        await self._task

    async def _run(self) -> None:
        while not self._ending.is_set():
            try:
                await self._connected()
            except (OSError, WebSocketException) as exc:
                logger.info(f"nwcservice is not connected: {type(exc).__name__}")
            except Exception:
                logger.exception("nwcservice: a session failed")
            await self._ends_within(RECONNECT_SECONDS)

    async def _connected(self) -> None:
        """One session, until the socket closes or the service ends."""
        keys = await get_identity()
        async with connect(_endpoint(), max_size=None, proxy=None) as socket:
            session = Session(socket, keys, _info_seconds())
            running = asyncio.create_task(session.run())
            ending = asyncio.create_task(self._ending.wait())
            await asyncio.wait({running, ending}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            ending.cancel()
            await session.finish()
            for end in await asyncio.gather(running, return_exceptions=True):
                if isinstance(end, Exception) and not isinstance(end, ConnectionClosed):
                    raise end
        await note("disconnected")

    async def _ends_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._ending.wait(), seconds)
        except asyncio.TimeoutError:
            pass


def _endpoint() -> str:
    """The private endpoint. Not made for URLs: `/` and `+` occur in it."""
    private_id = encrypt_internal_message("relay")
    return f"ws://127.0.0.1:{os.environ['PORT']}/nostrclient/api/v1/{private_id}"


def _info_seconds() -> float:
    return float(os.environ.get("NWCSERVICE_INFO_SECONDS", INFO_SECONDS))


_services: list[Service] = []  # the running one


def nwcservice_start() -> None:
    """Called by LNbits, inside the event loop."""
    if not _services:
        _services.append(Service())


async def nwcservice_stop() -> None:
    """Called by LNbits. Ends what `nwcservice_start` began."""
    while _services:
        await _services.pop().stop()
