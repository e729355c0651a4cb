"""Where WebSockets are blocked, a page is live by server-sent events until one gets through."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest_asyncio
from playwright.async_api import Request, WebSocket, expect

from tests.browser.conftest import Stage, card, live
from tests.support.demo_data import TASK
from tests.support.processes import eventually
from tests.support.stream_client import SSE_PATH


@pytest_asyncio.fixture(loop_scope="session")
async def blocked(stage: Stage) -> AsyncIterator[Stage]:
    """A stage whose proxy refuses requests for upgrades."""
    stage.proxy.refuses_upgrades = True
    yield stage
    stage.proxy.refuses_upgrades = False


async def test_a_page_is_live_without_websockets_and_uses_them_once_it_can(
    blocked: Stage,
) -> None:
    stage = blocked
    page = await (await stage.context(stage.world.grace)).new_page()
    streams: list[Request] = []
    sockets: list[WebSocket] = []
    page.on("request", lambda made: streams.append(made) if SSE_PATH in made.url else None)
    page.on("websocket", lambda opened: sockets.append(opened))
    await page.goto(f"{stage.url}/?as={stage.world.grace}#/{stage.world.apollo}")
    await live(page)
    assert len(sockets) == 2, "both were refused"
    assert streams[-1].resource_type == "fetch"
    assert "eyJ" not in streams[-1].url, "the token is in a header"
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    await expect(card(page, "Lift off")).to_be_visible()

    number = len(streams)
    await page.evaluate(f"location.hash = '#/{stage.world.gemini}'")
    await eventually(lambda: len(streams) > number, "another stream")
    assert stage.world.gemini in parse_qs(urlsplit(streams[-1].url).query)["project_id"]
    await expect(page.get_by_role("main")).to_have_attribute("data-status", "live")
    await page.evaluate(f"location.hash = '#/{stage.world.apollo}'")
    await expect(page.get_by_role("main")).to_have_attribute("data-status", "live")
    await expect(card(page, "Lift off")).to_be_visible()

    before = await stage.reads()
    stage.proxy.refuses_upgrades = False
    number = len(sockets)
    await page.evaluate("dispatchEvent(new Event('online'))")
    await eventually(lambda: len(sockets) > number + 1, "one to try, one to stay")
    await eventually(lambda: len(stage.proxy.connected_ports) == 1, "no stream any more")
    await stage.sql("update tasks set title = 'Land' where id = $1", TASK)
    await expect(card(page, "Land")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("Live")
    after = await stage.reads()
    assert set(after - before) <= {"project/tasks"}, "it resumed"
