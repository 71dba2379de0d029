"""The REST routes, all for the server's administrator."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, HTTPException
from lnbits.core.crud import get_wallet
from lnbits.decorators import check_admin
from nostr_sdk import Keys
from pydantic import BaseModel

from .crud import add_app, get_identity, get_journal

nwcservice_ext = APIRouter(
    prefix="/nwcservice/api/v1", tags=["nwcservice"], dependencies=[Depends(check_admin)]
)


class NewApp(BaseModel):
    """An app to come, and the wallet it is for."""

    wallet_id: str


@nwcservice_ext.post("/app", status_code=HTTPStatus.CREATED)
async def api_add_app(data: NewApp) -> dict[str, str]:
    """What a connection string (`nostr+walletconnect://`) is made of, shown this once."""
    if await get_wallet(data.wallet_id) is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "No such wallet.")
    app = Keys.generate()
    await add_app(app.public_key().to_hex(), data.wallet_id)
    service = (await get_identity()).public_key().to_hex()
    return {"service": service, "secret": app.secret_key().to_hex()}


@nwcservice_ext.get("/journal")
async def api_journal(after: int = 0) -> list[dict[str, Any]]:
    """`[{position, step, subject, detail}]`, what was done after that position."""
    return [dict(row) for row in await get_journal(after)]
