"""An LNbits with a NIP-47 wallet service in it, and the books it keeps.

The service is the extension in `consumers/nwcservice`. A test gets a wallet that pays, a
shop that is paid, and a connection string for an outside wallet.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scripts.lnbits_server import LNbits

from .endpoint import Endpoint
from .outside_wallet import OutsideWallet, Told, Verdict

SERVICE = Path(__file__).parent / "consumers" / "nwcservice"
START = 1_000_000  # sats the paying wallet begins with
PRICE = 21  # sats

ENVIRONMENT = {
    "NWCSERVICE_INFO_SECONDS": "1",
    # LNbits would ask the internet for the dollar's price before every payment.
    "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
    "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
}

Line = dict[str, Any]


@contextmanager
def bank_server(folder: Path) -> Iterator[LNbits]:
    """Started, with both extensions in it."""
    server = LNbits(folder / "data", env=ENVIRONMENT)
    place = server.extensions_path / "extensions" / SERVICE.name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(SERVICE)
    with server:
        yield server


@dataclass(frozen=True)
class Invoice:
    bolt11: str
    payment_hash: str


@dataclass(frozen=True)
class Account:
    """A wallet of the server."""

    id: str
    invoice_key: str


class Bank:
    """As one test uses it, with new wallets. `await open()` first."""

    def __init__(self, lnbits: LNbits) -> None:
        self.endpoint = Endpoint(lnbits)
        self.payer = self.shop = Account("", "")
        self.uri = ""
        self._opened_at = 0
        """Where the journal was when this test began."""

    async def open(self) -> None:
        await self.endpoint.reset()
        await self._call("PUT", f"/api/v1/extension/{SERVICE.name}/enable")
        self.payer, self.shop = await self._account(), await self._account()
        gift = {"id": self.payer.id, "amount": START}
        await self._call("PUT", "/users/api/v1/balance", json=gift)
        app = await self._call(
            "POST", "/nwcservice/api/v1/app", json={"wallet_id": self.payer.id}
        )
        self.uri = (
            f"nostr+walletconnect://{app['service']}"
            f"?relay={quote(self.endpoint.public_url, safe='')}&secret={app['secret']}"
        )
        lines = await self.journal()
        self._opened_at = lines[-1]["position"] if lines else 0
        await self.until_serving()

    async def close(self) -> None:
        await self.endpoint.close()

    # Money.

    async def invoice(self, price: int = PRICE) -> Invoice:
        """What the shop wants to be paid, this many sats."""
        answer = await self._call(
            "POST",
            "/api/v1/payments",
            json={"out": False, "amount": price, "memo": "goods"},
            headers={"X-Api-Key": self.shop.invoice_key},
        )
        return Invoice(answer["bolt11"], answer["payment_hash"])

    async def paid(self) -> list[str]:
        """The payment hashes of all the payer has paid. Fails if its books do not agree
        with the shop's."""
        outgoing = [line for line in await self._payments(self.payer) if line[1] < 0]
        incoming = [line for line in await self._payments(self.shop) if line[2]]
        assert sorted(line[0] for line in outgoing) == sorted(
            line[0] for line in incoming
        )
        assert all(line[1:] == (-PRICE * 1_000, True) for line in outgoing), outgoing
        spent = len(outgoing) * PRICE * 1_000
        assert await self._balance(self.payer) == START * 1_000 - spent
        assert await self._balance(self.shop) == spent
        return [line[0] for line in outgoing]

    async def judge(self, invoice: Invoice, told: Told) -> None:
        """Fails unless the order was carried out once at most, and what the wallet was
        told about it is true."""
        tries = await self.attempts(invoice)
        paid = (await self.paid()).count(invoice.payment_hash)
        case = f"{told}; tried {tries} times, paid {paid} times"
        if told.verdict is Verdict.DONE:
            assert (tries, paid) == (1, 1), case
            preimage = bytes.fromhex(told.result["preimage"])
            assert hashlib.sha256(preimage).hexdigest() == invoice.payment_hash
        elif told.verdict is Verdict.DENIED:
            assert (tries, paid) == (1, 0), case
        elif told.verdict is Verdict.REFUSED:
            assert (tries, paid) == (0, 0), case
        else:
            assert tries == paid <= 1, case

    async def look_up(self, wallet: OutsideWallet, invoice: Invoice) -> bool:
        """Whether it is paid, as the service says and the books do."""
        payment_hash = invoice.payment_hash
        told = await wallet.order("lookup_invoice", payment_hash=payment_hash)
        paid = invoice.payment_hash in await self.paid()
        if paid:
            assert told.verdict is Verdict.DONE, told
            assert told.result["state"] == "settled"
            assert told.result["invoice"] == invoice.bolt11
        else:
            assert (told.verdict, told.code) == (Verdict.DENIED, "NOT_FOUND"), told
        return paid

    # What the service has done.

    async def journal(self, *steps: str) -> list[Line]:
        """What it has done since the test began, these steps or all."""
        lines: list[Line] = await self._call(
            "GET", "/nwcservice/api/v1/journal", params={"after": self._opened_at}
        )
        return [line for line in lines if line["step"] in steps or not steps]

    async def attempts(self, invoice: Invoice) -> int:
        """How often it has set out to pay this."""
        lines = await self.journal("pay_invoice")
        return [line["detail"] for line in lines].count(invoice.payment_hash)

    async def until(self, step: str, number: int, seconds: float = 15) -> None:
        """Wait until it has done this so many times."""
        deadline = time.monotonic() + seconds
        while len(await self.journal(step)) < number:
            assert time.monotonic() < deadline, f"{step}: {await self.journal()}"
            await asyncio.sleep(0.05)

    async def until_serving(self, seconds: float = 15) -> None:
        """Wait until its newest subscriptions have their EOSE."""
        deadline = time.monotonic() + seconds
        while True:
            url = "/nwcservice/api/v1/journal"
            lines = await self._call("GET", url, params={"after": 0})
            states = [line["step"] for line in lines if line["step"] in STATES]
            if states[-1:] == ["serving"]:
                return
            assert time.monotonic() < deadline, f"it does not serve: {lines[-10:]}"
            await asyncio.sleep(0.05)

    async def switch(self, extension: str, on: bool) -> None:
        """Deactivate or activate an extension, as an admin does."""
        action = "activate" if on else "deactivate"
        await self._call("PUT", f"/api/v1/extension/{extension}/{action}")

    async def _account(self) -> Account:
        name = f"wallet {time.monotonic_ns()}"
        answer = await self._call("POST", "/api/v1/wallet", json={"name": name})
        return Account(answer["id"], answer["inkey"])

    async def _balance(self, account: Account) -> int:
        """In millisatoshi."""
        key = {"X-Api-Key": account.invoice_key}
        balance: int = (await self._call("GET", "/api/v1/wallet", headers=key))["balance"]
        return balance

    async def _payments(self, account: Account) -> list[tuple[str, int, bool]]:
        """Payment hash, millisatoshi, whether it has succeeded; without the gift."""
        key = {"X-Api-Key": account.invoice_key}
        lines = await self._call(
            "GET", "/api/v1/payments", headers=key, params={"limit": 1000}
        )
        return [
            (line["payment_hash"], line["amount"], line["status"] == "success")
            for line in lines
            if line["amount"] != START * 1_000
        ]

    async def _call(self, method: str, path: str, **arguments: Any) -> Any:
        url = f"{self.endpoint.root}{path}"
        response = await self.endpoint.http.request(method, url, **arguments)
        assert response.is_success, f"{path}: {response.text}"
        return response.json()


STATES = ("subscribed", "serving", "disconnected")
