"""The REST routes for the settings and the endpoints' paths."""

from fastapi import APIRouter

from ..core import settings
from ..crud import get_config
from ..models import Config, ConfigChange, Endpoints
from .endpoints import endpoints
from .routes import Route, admin

router = APIRouter(route_class=Route)


@router.get("/config", dependencies=admin)
async def api_get_config() -> Config:
    """The settings."""
    return await get_config()


@router.put("/config", dependencies=admin)
async def api_update_config(data: ConfigChange) -> Config:
    """Change some settings. Answers with all of them."""
    return await settings.change(data)


@router.get("/endpoints", dependencies=admin)
async def api_get_endpoints() -> Endpoints:
    """Where clients connect. The only answer with the private endpoint's id in it."""
    return await endpoints()
