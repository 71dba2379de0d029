"""The admin's page."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from lnbits.core.models import User
from lnbits.decorators import check_admin, check_user_exists
from lnbits.helpers import template_renderer

from .core.library import CoreUnavailable
from .core.running import running

page_router = APIRouter()


@page_router.get("/", dependencies=[Depends(check_admin)], response_class=HTMLResponse)
async def index(
    request: Request, user: User = Depends(check_user_exists)
) -> HTMLResponse:
    """The page. Its scripts ask the REST routes for the data."""
    problem = warning = None
    try:
        warning = running().warning
    except CoreUnavailable as exc:
        problem = str(exc)
    return template_renderer(["nostrclient/templates"]).TemplateResponse(
        request,
        "nostrclient/index.html",
        {"user": user.json(), "problem": problem, "warning": warning},
    )
