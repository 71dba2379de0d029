"""The REST routes for the metrics, and the token to read them with."""

from fastapi import APIRouter, Depends, Request, Response
from lnbits.decorators import check_access_token, check_account_exists, check_admin

from ..core.running import running
from ..page import metrics
from ..page.models import HasMetricsToken, MetricsToken
from ..page.overview import overview
from .routes import Route, admin

router = APIRouter(route_class=Route)


async def _may_read_metrics(
    request: Request, token: str | None = Depends(check_access_token)
) -> None:
    if token and await metrics.is_token(token):
        return
    await check_admin(await check_account_exists(request, token))


@router.get("/metrics", dependencies=[Depends(_may_read_metrics)])
async def api_get_metrics() -> Response:
    """The numbers for Prometheus. For an admin, or with the token below as Bearer."""
    text = metrics.metrics_text(await overview(running()))
    return Response(text, media_type=metrics.CONTENT_TYPE)


@router.get("/metrics/token", dependencies=admin)
async def api_has_metrics_token() -> HasMetricsToken:
    """Whether there is a token. It cannot be shown again."""
    return HasMetricsToken(exists=await metrics.has_token())


@router.post("/metrics/token", dependencies=admin)
async def api_make_metrics_token() -> MetricsToken:
    """Make a new token. The old one is invalid from now on."""
    return MetricsToken(token=await metrics.make_token())


@router.delete("/metrics/token", dependencies=admin)
async def api_drop_metrics_token() -> None:
    """Make the token invalid."""
    await metrics.drop_token()
