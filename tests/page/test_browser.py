"""The browser of the tests with pages notices what goes wrong on one."""

import pytest

from scripts.lnbits_server import free_port
from support.browser import PHONE, WIDE, Visit, Visitors
from support.pages import ONLY_OURS

pytestmark = [pytest.mark.asyncio(loop_scope="session"), ONLY_OURS]

SOMETHING = "/api/v1/health"  # no page of LNbits' application


async def complaints_about(visitors: Visitors, script: str, how_many: int) -> list[str]:
    """Of a page that runs this, an async function's body; `close` fails for them."""
    visit = await visitors.come(None)
    await visit.page.goto(SOMETHING)
    await visit.page.evaluate(f"async () => {{ {script} }}")
    with pytest.raises(AssertionError) as failure:
        await visit.close()
    visit.expect("")
    found = str(failure.value).splitlines()
    assert len(found) == how_many, found
    return found


async def test_errors(visitors: Visitors) -> None:
    script = """
        console.error('one')
        setTimeout(() => { throw new Error('two') })
        await new Promise(resolve => addEventListener('error', resolve))
    """
    one, two = await complaints_about(visitors, script, 2)
    assert one.startswith("console: one")
    assert two.startswith("error: two")


async def test_failing_requests(visitors: Visitors) -> None:
    address = f"http://127.0.0.1:{free_port()}/"
    script = f"await fetch('{address}').catch(() => null)"
    found = await complaints_about(visitors, script, 2)
    assert f"request: net::ERR_CONNECTION_REFUSED {address}" in found


@pytest.mark.parametrize("host", ["relay.example", "192.0.2.1", "[2001:db8::1]"])
async def test_requests_to_elsewhere(visitors: Visitors, host: str) -> None:
    """None leaves the machine: nobody is asked where these are."""
    script = f"await fetch('http://{host}/').catch(() => null)"
    found = await complaints_about(visitors, script, 3)
    assert f"outside: http://{host}/" in found
    assert f"request: net::ERR_NAME_NOT_RESOLVED http://{host}/" in found
    script = f"""
        const socket = new WebSocket('ws://{host}/')
        await new Promise(resolve => socket.addEventListener('error', resolve))
    """
    found = await complaints_about(visitors, script, 2)
    assert f"outside: ws://{host}/" in found


async def test_what_is_expected_is_no_failure(visitors: Visitors) -> None:
    visit = await visitors.come(None)
    visit.expect("^console: known")
    await visit.page.goto(SOMETHING)
    await visit.page.evaluate("console.error('known')")
    await visit.close()
    assert len(visit.complaints) == 1


async def test_a_page_can_be_hidden(visit: Visit) -> None:
    await visit.page.goto(SOMETHING)
    await visit.page.evaluate("""
        seen = []
        addEventListener('visibilitychange', () => seen.push(document.visibilityState))
        """)
    await visit.hide()
    await visit.hide(False)
    assert await visit.page.evaluate("seen") == ["hidden", "visible"]


async def test_the_sizes_of_pictures(visitors: Visitors) -> None:
    for screen in (WIDE, PHONE):
        visit = await visitors.admin(screen, dark=True)
        await visit.page.goto(SOMETHING)
        picture = (await visit.screenshot("size")).read_bytes()
        size = (
            int.from_bytes(picture[16:20], "big"),
            int.from_bytes(picture[20:24], "big"),
        )
        assert size == (screen.width, screen.height)
