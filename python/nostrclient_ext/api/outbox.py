"""The REST routes of the outbox."""

from fastapi import APIRouter

from ..core.running import running
from ..models import Outbox
from ..page.models import Done, OutboxIds
from .routes import NotFound, Route, admin

router = APIRouter(route_class=Route)


@router.get("/outbox", dependencies=admin)
async def api_get_outbox() -> Outbox:
    """The events that wait for a relay, and those that every relay has refused."""
    return await running().outbox.view()


@router.post("/outbox/retry", dependencies=admin)
async def api_retry_events(data: OutboxIds | None = None) -> Done:
    """Try these events again; without a body, all of them. Rejected ones too. Ids that
    are not there are left out."""
    outbox = running().outbox
    rows = (await outbox.view()).rows
    wanted = {row.id for row in rows} if data is None else set(data.ids)
    ids = [row.id for row in rows if row.id in wanted and row.state != "unreadable"]
    return Done(count=sum([await outbox.retry(row_id) for row_id in ids]))


@router.delete("/outbox", dependencies=admin)
async def api_delete_events(data: OutboxIds) -> Done:
    """Remove these events for good. Ids that are not there are left out."""
    return Done(count=await running().outbox.delete(data.ids))


@router.post("/outbox/{event_id}/retry", dependencies=admin)
async def api_retry_event(event_id: str) -> None:
    """Try an event again, a rejected one too."""
    outbox = running().outbox
    try:
        found = await outbox.retry(event_id)
    except ValueError:
        found = False
    if not found:
        raise _no_such_event()


@router.delete("/outbox/{event_id}", dependencies=admin)
async def api_delete_event(event_id: str) -> None:
    """Remove an event for good."""
    if not await running().outbox.delete([event_id]):
        raise _no_such_event()


def _no_such_event() -> NotFound:
    return NotFound("no_such_event", "No such event in the outbox.")
