"""The REST routes for the clients that are connected."""

from fastapi import APIRouter

from ..core.running import running
from ..page import clients
from ..page.models import Clients
from .routes import NotFound, Route, admin

router = APIRouter(route_class=Route)


@router.get("/clients", dependencies=admin)
async def api_get_clients() -> Clients:
    """The connected clients."""
    return clients.clients(running())


@router.delete("/clients/{client_id}", dependencies=admin)
async def api_cut_off(client_id: str) -> None:
    """Close a client's connection. It may connect again."""
    if not clients.cut_off(running(), client_id):
        raise NotFound("no_such_client", "This client is not connected.")
