"""The REST routes for the settings, and where they have the endpoints be."""

from fastapi import APIRouter
from loguru import logger

from ..core.library import CoreUnavailable
from ..core.running import running
from ..crud import change_config, get_config, get_stored_config
from ..models import Config, ConfigChange, Endpoints
from .endpoints import endpoints, public_keys, server_address
from .proxy import proxy_changes
from .routes import Route, admin, bad_request

router = APIRouter(route_class=Route)


@router.get("/config", dependencies=admin)
async def api_get_config() -> Config:
    """The settings."""
    return await get_config()


@router.put("/config", dependencies=admin)
async def api_update_config(data: ConfigChange) -> Config:
    """Set the settings that are given. They count for clients and events that come from
    now on; relays that are reached another way connect anew. Answers with all of them."""
    changes = data.dict(exclude_none=True)
    try:
        if data.address is not None:
            changes["address"] = server_address(data.address)
        if data.public_allowed is not None:
            changes["public_allowed"] = public_keys(data.public_allowed)
        if data.proxy is not None:
            changes |= proxy_changes(data.proxy, await get_stored_config())
    except ValueError as exc:
        raise bad_request(exc) from exc
    config = await change_config(changes)
    try:
        found = running()
    except CoreUnavailable:
        return config.without_secrets()  # read at its start
    found.apply(config)
    queued = found.core.stats()["outbox"]["queued"]
    if queued > config.outbox_size:
        logger.warning(
            f"nostrclient: {queued} events are queued, and at most {config.outbox_size}"
            " may be: no more are taken until some are sent."
        )
    return config.without_secrets()


@router.get("/endpoints", dependencies=admin)
async def api_get_endpoints() -> Endpoints:
    """Where clients connect. The one answer that holds the private endpoint's id."""
    return await endpoints()
