"""An outside wallet pays through the endpoint, and is told the truth whatever relays do.

Its orders go in at the public endpoint, over the relays or directly, and out at the
private endpoint to a wallet service in the same LNbits; the answers go back the same way.
Whatever happens, an order is carried out once at most, what the wallet is told about it
is so (`Bank.judge`), and the books of the payer and the shop agree.

The SDK has one answer that says nothing: "reply timeout". The order has left, and nobody
knows what became of it. The wallet has to look it up, and then it learns the truth.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, TypeAlias

import pytest
import pytest_asyncio

from scripts.lnbits_server import EXTENSION, LNbits
from support.bank import PRICE, SERVICE, START, Bank, Invoice, bank_server
from support.events import Event
from support.keeping_relay import KeepingRelay, Step
from support.outbox import Outbox, back, down
from support.outside_wallet import OutsideWallet, Told, Verdict
from support.scripted_relay import Filter, Line, OnReq

pytestmark = pytest.mark.asyncio

INFO, REQUEST, RESPONSE = 13194, 23194, 23195
PRIVATE_ID = "U2FsdGVkX1"  # how all of them begin

Race: TypeAlias = tuple[Step, int, str, bool]
"""A relay's step, the kind of event, its trouble, and whether it says OK first."""

RACES: list[Race] = [
    ("asked", RESPONSE, "drop", False),
    ("asked", RESPONSE, "go_deaf", False),
    ("kept", REQUEST, "drop", False),
    ("kept", REQUEST, "stall", False),
    ("kept", REQUEST, "halve", False),
    ("passed", REQUEST, "drop", False),
    ("confirmed", REQUEST, "drop", True),
    ("kept", RESPONSE, "drop", False),
    ("kept", RESPONSE, "stall", False),
    ("kept", RESPONSE, "halve", False),
    ("passed", RESPONSE, "drop", False),
    ("confirmed", RESPONSE, "drop", True),
]


EVERY_RACE = pytest.mark.parametrize(
    "race", RACES, ids=lambda race: f"{race[0]} {race[1]}, {race[2]}"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LNbits]:
    with bank_server(tmp_path_factory.mktemp("bank")) as lnbits:
        yield lnbits


@pytest_asyncio.fixture
async def bank(server: LNbits) -> AsyncIterator[Bank]:
    """No relays, a service that serves, a payer with money."""
    bank = Bank(server)
    try:
        await bank.open()
        yield bank
    finally:
        await bank.close()
    log = server.log()
    assert "Traceback" not in log
    assert PRIVATE_ID not in log


@pytest_asyncio.fixture
async def wallet(bank: Bank, node: str) -> AsyncIterator[OutsideWallet]:
    async with OutsideWallet(node, bank.uri) as wallet:
        yield wallet


async def two_relays(bank: Bank, confirm_first: bool = False) -> list[KeepingRelay]:
    """Connected, and asked for what the service wants to know."""
    relays = [KeepingRelay(confirm_first=confirm_first) for _ in range(2)]
    await bank.endpoint.use(*relays)
    await until_asked(*relays)
    return relays


async def until_asked(*relays: KeepingRelay) -> None:
    """For orders to the service, and for its answers."""

    def asked(relay: KeepingRelay) -> bool:
        filters = [wanted for each in relay.open_subs().values() for wanted in each]
        kinds = [wanted["kinds"] for wanted in filters if "#e" not in wanted]
        return [REQUEST] in kinds and [RESPONSE] in kinds

    for relay in relays:
        await relay.until(partial(asked, relay), "the service's subscriptions")


async def until_back(bank: Bank, *relays: KeepingRelay) -> None:
    """Connected again, and asked again."""
    for relay in relays:
        await bank.endpoint.until_relay(relay.url, connected=True)
    await until_asked(*relays)


def kept(relay: KeepingRelay, kind: int) -> list[Event]:
    return [event for event in relay.kept if event["kind"] == kind]


async def order(
    wallet: OutsideWallet, invoice: Invoice, patience: float | None = None
) -> Told:
    return await wallet.order("pay_invoice", patience=patience, invoice=invoice.bolt11)


async def pay(
    bank: Bank, wallet: OutsideWallet, patience: float | None = None
) -> tuple[Invoice, Told]:
    """One more order, and what the wallet was told about it."""
    invoice = await bank.invoice()
    told = await order(wallet, invoice, patience)
    await bank.judge(invoice, told)
    return invoice, told


async def test_an_outside_wallet_pays(bank: Bank, wallet: OutsideWallet) -> None:
    """Over real relays, and with the SDK's own patience."""
    for _ in range(2):
        await bank.endpoint.honest()
    info = await wallet.order("get_info")
    assert "pay_invoice" in info.result["methods"]
    assert (await wallet.order("get_balance")).result["balance"] == START * 1_000

    unpaid = await bank.invoice()
    assert await bank.look_up(wallet, unpaid) is False
    invoice, told = await pay(bank, wallet)
    assert told.verdict is Verdict.DONE
    assert await bank.look_up(wallet, invoice) is True
    balance = (await wallet.order("get_balance")).result["balance"]
    assert balance == (START - PRICE) * 1_000
    assert await bank.paid() == [invoice.payment_hash]


async def test_the_wallet_is_told_why_not(bank: Bank, wallet: OutsideWallet) -> None:
    await bank.endpoint.honest()
    dear = await bank.invoice(START + 1)
    told = await wallet.order("pay_invoice", invoice=dear.bolt11)
    assert (told.verdict, told.code) == (Verdict.DENIED, "PAYMENT_FAILED")
    await bank.judge(dear, told)
    assert await bank.paid() == []


async def test_a_real_relay_goes_away_among_many_orders(
    bank: Bank, wallet: OutsideWallet
) -> None:
    """The other one stays, and the wallet notices nothing."""
    leaving, _ = [await bank.endpoint.honest() for _ in range(2)]
    invoices = [await bank.invoice() for _ in range(12)]
    orders = [asyncio.create_task(order(wallet, invoice)) for invoice in invoices]
    await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
    await bank.endpoint.lose(leaving)
    for invoice, told in zip(invoices, await asyncio.gather(*orders), strict=True):
        assert told.verdict is Verdict.DONE
        await bank.judge(invoice, told)


@EVERY_RACE
async def test_one_relay_gets_into_trouble(
    bank: Bank, wallet: OutsideWallet, race: Race
) -> None:
    """At every step of an order and its answer. The wallet notices nothing."""
    step, kind, trouble, confirm_first = race
    relays = await two_relays(bank, confirm_first)
    relays[0].trouble[step, kind] = getattr(relays[0], trouble)
    invoice, told = await pay(bank, wallet, patience=10)
    assert told.verdict is Verdict.DONE, told
    assert relays[0].trouble == {}, "it did not come so far"
    assert await bank.paid() == [invoice.payment_hash]


@EVERY_RACE
async def test_both_relays_get_into_trouble(
    bank: Bank, wallet: OutsideWallet, race: Race
) -> None:
    """At every step of an order and its answer. What the wallet is told may be "don't
    know", never something wrong. What it looks up once the relays are back is the truth,
    so that it can order again what is not paid: the first order does not come after."""
    step, kind, trouble, confirm_first = race
    relays = await two_relays(bank, confirm_first)
    for relay in relays:
        relay.trouble[step, kind] = getattr(relay, trouble)
    invoice, told = await pay(bank, wallet, patience=2.5)
    assert told.verdict is not Verdict.DENIED, told
    assert [relay.trouble for relay in relays] == [{}, {}], told
    if trouble == "go_deaf":
        for relay in relays:
            relay.line.drop()
    await until_back(bank, *relays)
    if not await bank.look_up(wallet, invoice):
        again = await order(wallet, invoice)
        assert again.verdict is Verdict.DONE, f"{told}, then {again}"
        await bank.judge(invoice, again)
    assert await bank.paid() == [invoice.payment_hash]


async def test_what_relays_have_kept_is_not_paid_again(
    bank: Bank, wallet: OutsideWallet
) -> None:
    """Both relays have the order and are gone, the service has it directly. When they are
    back they have it still, and show it to whoever asks for orders."""
    relays = await two_relays(bank)
    for relay in relays:
        relay.trouble["kept", REQUEST] = relay.vanish
    invoice, told = await pay(bank, wallet, patience=3)
    assert told.verdict is Verdict.DONE
    for relay in relays:
        relay.come_back()
    await until_back(bank, *relays)
    assert [len(kept(relay, REQUEST)) for relay in relays] == [1, 1]
    assert await bank.look_up(wallet, invoice) is True
    await bank.judge(invoice, told)


@pytest.mark.parametrize("race", RACES[2::4], ids=lambda race: f"{race[0]} {race[1]}")
async def test_both_relays_drop_among_many_orders(
    bank: Bank, wallet: OutsideWallet, race: Race
) -> None:
    """Each at another step, so that some orders and some answers are lost."""
    step, kind, _, confirm_first = race
    relays = await two_relays(bank, confirm_first)
    relays[0].trouble[step, kind] = relays[0].drop
    relays[1].trouble["passed", REQUEST] = relays[1].drop
    invoices = [await bank.invoice() for _ in range(8)]
    orders = [order(wallet, invoice, patience=3) for invoice in invoices]
    answers = await asyncio.gather(*orders)
    await until_back(bank, *relays)
    for invoice, told in zip(invoices, answers, strict=True):
        await bank.look_up(wallet, invoice)
        await bank.judge(invoice, told)


async def test_both_relays_are_down(bank: Bank, wallet: OutsideWallet) -> None:
    """The wallet and the service are on one server and need none. What the service
    publishes about itself meanwhile waits in one row. With the service away too, the
    wallet is told at once that nobody was told, and so it stays."""
    relays = await two_relays(bank)
    await down(bank.endpoint, *relays)
    done = [await pay(bank, wallet) for _ in range(3)]
    assert {told.verdict for _, told in done} == {Verdict.DONE}

    newest = ""
    for _ in range(3):
        row = await another_only_row(bank, newest)
        assert row["kind"] == INFO
        newest = row["id"]

    invoices = [await bank.invoice() for _ in range(3)]
    await bank.switch(SERVICE.name, False)
    refused = [(invoice, await order(wallet, invoice)) for invoice in invoices]
    assert {told.verdict for _, told in refused} == {Verdict.REFUSED}
    await bank.switch(SERVICE.name, True)

    await back(bank.endpoint, *relays)
    await until_asked(*relays)
    _, told = await pay(bank, wallet)
    assert told.verdict is Verdict.DONE
    for invoice, told in refused:
        assert await bank.look_up(wallet, invoice) is False
        await bank.judge(invoice, told)
    for invoice, told in done:
        await bank.judge(invoice, told)


async def another_only_row(bank: Bank, known: str) -> dict[str, Any]:
    """What the outbox holds, once that is one event and not this one."""
    deadline = time.monotonic() + 10
    while True:
        rows: list[dict[str, Any]] = (await Outbox(bank.endpoint).shown())["rows"]
        if len(rows) == 1 and rows[0]["id"] != known:
            return rows[0]
        assert time.monotonic() < deadline, f"not one new row: {rows}"
        await asyncio.sleep(0.05)


async def test_relays_repeat_themselves(bank: Bank, wallet: OutsideWallet) -> None:
    """Old orders, as if they were new: on the old line, on a new one, and as what they
    have kept."""
    relays = await two_relays(bank)
    done = [await pay(bank, wallet) for _ in range(3)]
    for _ in range(2):
        for relay in relays:
            await relay.line.live(*relay.kept)
        _, told = await pay(bank, wallet)
        assert told.verdict is Verdict.DONE
        for relay in relays:
            relay.line.drop()
        await until_back(bank, *relays)
    for invoice, told in done:
        assert told.verdict is Verdict.DONE
        await bank.judge(invoice, told)


async def test_relays_close_the_subscriptions(bank: Bank, wallet: OutsideWallet) -> None:
    """What was live is asked for again, so that is none of the service's business: not of
    one, and not of both."""
    relays = await two_relays(bank)
    done = [await pay(bank, wallet) for _ in range(3)]
    for number, relay in enumerate(relays):
        for sub in list(relay.line.subs):
            await relay.line.closed(sub, "error: too much to do")
        if number == 0:
            done.append(await pay(bank, wallet))
    for relay in relays:
        await relay.until(partial(_is_asked, relay), "that it is asked again")
    done.append(await pay(bank, wallet))
    assert len(await bank.journal("closed")) == 0
    for invoice, told in done:
        assert told.verdict is Verdict.DONE
        await bank.judge(invoice, told)


def _is_asked(relay: KeepingRelay) -> bool:
    return bool(relay.line.subs)


def later(seconds: float, relay: KeepingRelay) -> OnReq:
    """A slow relay: it answers as it does, but so much later."""
    answer = relay.on_req

    async def on_req(line: Line, sub: str, filters: list[Filter]) -> None:
        await asyncio.sleep(seconds)
        await answer(line, sub, filters)

    return on_req


async def test_orders_that_came_while_the_service_was_away(
    bank: Bank, wallet: OutsideWallet
) -> None:
    """They are found when it is back, and carried out at EOSE."""
    relays = await two_relays(bank)
    _, told = await pay(bank, wallet)
    assert told.verdict is Verdict.DONE

    def all_kept(relay: KeepingRelay) -> bool:
        return len(kept(relay, REQUEST)) == 4

    await bank.switch(SERVICE.name, False)
    invoices = [await bank.invoice() for _ in range(3)]
    orders = [asyncio.create_task(order(wallet, invoice)) for invoice in invoices]
    for relay in relays:
        await relay.until(partial(all_kept, relay), "all orders")
    await bank.switch(SERVICE.name, True)
    for invoice, told in zip(invoices, await asyncio.gather(*orders), strict=True):
        assert told.verdict is Verdict.DONE
        await bank.judge(invoice, told)


@pytest.mark.parametrize("what", ["the service", "the endpoint", "the server"])
async def test_nothing_is_paid_again_after_a_restart(
    server: LNbits, bank: Bank, wallet: OutsideWallet, what: str
) -> None:
    """The service has to be shown its own answers, which only a slow relay still has.
    With an EOSE too early it would carry out everything again."""
    quick, slow = await two_relays(bank)
    done = [await pay(bank, wallet) for _ in range(3)]
    quick.kept, slow.kept = kept(quick, REQUEST), kept(slow, RESPONSE)
    assert len(quick.kept) == len(slow.kept) == len(done)
    slow.on_req = later(1.0, slow)
    served = len(await bank.journal("serving"))

    if what == "the service":
        await bank.switch(SERVICE.name, False)
        await bank.switch(SERVICE.name, True)
    elif what == "the endpoint":
        await bank.switch(EXTENSION, False)
        await bank.switch(EXTENSION, True)
    else:
        server.kill()
        await asyncio.to_thread(server.start)
    await bank.until("serving", served + 1)
    await until_back(bank, quick, slow)
    done.append(await pay(bank, wallet))
    for invoice, told in done:
        assert told.verdict is Verdict.DONE
        await bank.judge(invoice, told)


async def test_relays_that_pass_an_order_on_and_refuse_it(
    bank: Bank, wallet: OutsideWallet
) -> None:
    """The endpoint has given the order to the service itself: it cannot say that nobody
    has it."""
    relays = await two_relays(bank)
    assert (await wallet.order("get_balance")).verdict is Verdict.DONE
    for relay in relays:
        relay.trouble["passed", REQUEST] = relay.refuse
    await pay(bank, wallet)
