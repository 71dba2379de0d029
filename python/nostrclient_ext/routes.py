"""What all REST routes of this extension share."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from lnbits.decorators import check_admin

from .core import CoreUnavailable
from .outbox_rows import StoreError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

API = "/api/v1"

admin = [Depends(check_admin)]


class Route(APIRoute):
    """Answers 503 with the reason where a route needs the core or the outbox's table and
    there is none."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (CoreUnavailable, StoreError) as exc:
                return JSONResponse({"detail": str(exc)}, HTTPStatus.SERVICE_UNAVAILABLE)

        return answer


def bad_request(exc: ValueError) -> HTTPException:
    """What the caller did wrong, as the answer to him."""
    return HTTPException(HTTPStatus.BAD_REQUEST, str(exc))
