"""What all REST routes of this extension share."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from lnbits.decorators import check_admin
from loguru import logger
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..core.library import CoreUnavailable
from ..outbox.rows import StoreError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

NO_DATABASE = "The database cannot be used now. The log of LNbits says why."

admin = [Depends(check_admin)]


class Route(APIRoute):
    """Answers 503 with the reason where a route needs the core or the database and there
    is none."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except (CoreUnavailable, StoreError) as exc:
                words = str(exc)
            # The second comes from a database's server that is away.
            except (SQLAlchemyError, OSError) as exc:
                # Not the statement: its values are nobody's business.
                why = exc.orig if isinstance(exc, DBAPIError) else exc
                logger.error(f"nostrclient cannot use the database: {why!r}")
                words = NO_DATABASE
            return JSONResponse({"detail": words}, HTTPStatus.SERVICE_UNAVAILABLE)

        return answer


def bad_request(exc: ValueError) -> HTTPException:
    """What the caller did wrong, as the answer to him."""
    return HTTPException(HTTPStatus.BAD_REQUEST, str(exc))
