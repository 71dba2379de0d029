"""What an app can order, carried out on a wallet of this LNbits.

Every order ends in the content of its answer, `{"result": …}` or `{"error": …}`, as
NIP-47 has them. Amounts are millisatoshi.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from bolt11 import decode
from lnbits.core.crud import get_standalone_payment, get_wallet
from lnbits.core.models import Payment
from lnbits.core.services import pay_invoice
from lnbits.exceptions import PaymentError
from loguru import logger

Params: TypeAlias = dict[str, Any]
Result: TypeAlias = dict[str, Any]


class OrderError(Exception):
    """The order is not carried out. `code` is one of NIP-47's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def carry_out(wallet_id: str | None, method: str, params: Params) -> Result:
    """Do it, and give the answer's content."""
    try:
        if wallet_id is None:
            raise OrderError("UNAUTHORIZED", "This app has no wallet here.")
        if method not in METHODS:
            raise OrderError("NOT_IMPLEMENTED", f"There is no {method} here.")
        result = await METHODS[method](wallet_id, params)
    except OrderError as exc:
        error = {"code": exc.code, "message": str(exc)}
        return {"result_type": method, "error": error, "result": None}
    return {"result_type": method, "error": None, "result": result}


def payment_hash_of(method: str, params: Params) -> str:
    """The payment an order is about, empty where it is about none."""
    try:
        return _payment_hash(params) if method in ABOUT_A_PAYMENT else ""
    except OrderError:
        return ""


async def _get_info(_: str, __: Params) -> Result:
    return {"alias": "nwcservice", "network": "mainnet", "methods": list(METHODS)}


async def _get_balance(wallet_id: str, _: Params) -> Result:
    wallet = await get_wallet(wallet_id)
    if wallet is None:
        raise OrderError("INTERNAL", "The wallet is gone.")
    return {"balance": wallet.balance_msat}


async def _pay_invoice(wallet_id: str, params: Params) -> Result:
    try:
        payment = await pay_invoice(
            wallet_id=wallet_id, payment_request=str(params.get("invoice"))
        )
    except (PaymentError, ValueError) as exc:
        raise OrderError("PAYMENT_FAILED", str(exc)) from exc
    except Exception as exc:
        logger.exception("nwcservice: a payment failed")
        raise OrderError("INTERNAL", type(exc).__name__) from exc
    return {"preimage": payment.preimage, "fees_paid": abs(payment.fee)}


async def _lookup_invoice(wallet_id: str, params: Params) -> Result:
    payment = await get_standalone_payment(_payment_hash(params), wallet_id=wallet_id)
    if payment is None:
        raise OrderError("NOT_FOUND", "This wallet knows no such payment.")
    return _shown(payment)


def _shown(payment: Payment) -> Result:
    return {
        "type": "outgoing" if payment.amount < 0 else "incoming",
        "state": "settled" if payment.success else "pending",
        "invoice": payment.bolt11,
        "preimage": payment.preimage,
        "payment_hash": payment.payment_hash,
        "amount": abs(payment.amount),
        "fees_paid": abs(payment.fee),
        "created_at": int(payment.created_at.timestamp()),
        "settled_at": int(payment.updated_at.timestamp()) if payment.success else None,
    }


def _payment_hash(params: Params) -> str:
    if params.get("payment_hash"):
        return str(params["payment_hash"])
    try:
        return decode(str(params.get("invoice"))).payment_hash
    except Exception as exc:
        raise OrderError("OTHER", "This is no invoice.") from exc


METHODS: dict[str, Callable[[str, Params], Awaitable[Result]]] = {
    "get_info": _get_info,
    "get_balance": _get_balance,
    "pay_invoice": _pay_invoice,
    "lookup_invoice": _lookup_invoice,
}
ABOUT_A_PAYMENT = ("pay_invoice", "lookup_invoice")
