"""The routes under `/nostrclient/api/v1`. Each subject has its own in `api/`."""

from fastapi import APIRouter

from .api import (
    clients,
    document,
    keys,
    live,
    metrics,
    outbox,
    relays,
    settings,
    status,
    websocket,
)

api_router = APIRouter(prefix="/api/v1")
for subject in (relays, settings, status, outbox, keys, clients, metrics, live):
    api_router.include_router(subject.router)
# The endpoints take every path that is left, so they come last.
api_router.include_router(websocket.router)
api_router.include_router(document.router)
