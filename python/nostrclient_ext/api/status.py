"""The REST route for other extensions: whether Nostr works right now."""

from fastapi import APIRouter, Depends
from lnbits.decorators import require_invoice_key

from ..models import Status
from ..status import nostr_status
from .routes import Route

router = APIRouter(route_class=Route)


@router.get("/status", dependencies=[Depends(require_invoice_key)])
async def api_get_status() -> Status:
    """Whether Nostr works right now, for other extensions."""
    return nostr_status()
