"""What all REST routes of this extension share."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from lnbits.decorators import check_admin
from loguru import logger
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..core.library import CoreUnavailable
from ..core.refusal import Refusal
from ..outbox.rows import StoreError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

NO_DATABASE = "The database cannot be used now. The log of LNbits says why."

admin = [Depends(check_admin)]


class NotFound(Refusal):
    """The thing that the request names is not there."""


class Route(APIRoute):
    """A route that answers errors with a code and a sentence: 400 or 404 if the caller
    did something wrong, 503 if the core or the database is missing."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except NotFound as exc:
                return problem(HTTPStatus.NOT_FOUND, exc.code, str(exc))
            except Refusal as exc:
                return problem(HTTPStatus.BAD_REQUEST, exc.code, str(exc))
            except CoreUnavailable as exc:
                return problem(HTTPStatus.SERVICE_UNAVAILABLE, "no_core", str(exc))
            except StoreError as exc:
                words = str(exc)
            # `OSError`: the database's server is away.
            except (SQLAlchemyError, OSError) as exc:
                # Not the statement, whose values may be secret.
                why = exc.orig if isinstance(exc, DBAPIError) else exc
                logger.error(f"nostrclient cannot use the database: {why!r}")
                words = NO_DATABASE
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, "no_database", words)

        return answer


def problem(status: HTTPStatus, code: str, words: str) -> Response:
    """The answer to a request that failed: `detail` for people, `code` for programs."""
    return JSONResponse({"detail": words, "code": code}, status)
