"""The REST routes for the keys we sign in with at relays (NIP-42)."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError

from ..core.running import Running, running
from ..models import NewKey, Relay, RelayKey, RelayKeyChoice
from ..relays import changes, keys, listing
from .routes import Route, admin, problem

_MALFORMED = "The request is no JSON, or not what this route takes."


class _SecretiveRoute(Route):
    """LNbits writes a body that it cannot read to the log and into its answer. Here it
    may contain a private key, so the answer is our own."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError:
                return problem(HTTPStatus.BAD_REQUEST, "malformed", _MALFORMED)

        return answer


router = APIRouter(route_class=_SecretiveRoute)


@router.get("/keys", dependencies=admin)
async def api_get_keys() -> list[RelayKey]:
    """All keys, and the relays each is used for. Never a private key."""
    return await _keys(running())


@router.post("/keys", dependencies=admin)
async def api_add_key(data: NewKey) -> RelayKey:
    """Store a key: the given one, or a new one."""
    core = running()
    public_key = await keys.add_key(core, data)
    return next(key for key in await _keys(core) if key.public_key == public_key)


@router.delete("/keys/{public_key}", dependencies=admin)
async def api_delete_key(public_key: str) -> None:
    """Remove a key. Nothing happens if there is none."""
    await changes.forget_key(running(), public_key)


@router.put("/relay/key", dependencies=admin)
async def api_choose_key(data: RelayKeyChoice) -> list[Relay]:
    """Set the key that we sign in with at a relay. Answers with all relays."""
    core = running()
    await changes.choose_key(core, data.url, data.public_key)
    return await listing.list_relays(core)


async def _keys(core: Running) -> list[RelayKey]:
    return await keys.list_keys(core, await listing.list_relays(core))
