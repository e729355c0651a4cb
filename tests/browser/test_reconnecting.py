"""A page that was offline refetches exactly what it missed."""

import asyncio
import signal
from collections import Counter

from playwright.async_api import Page, expect

from tests.browser.conftest import STORED, Stage, card
from tests.support.demo_data import TASK
from tests.support.processes import HANG_SECONDS, eventually

OFF_SECONDS = 20.0  # the first poll of a page that is not live is at least 24 s away


async def settled(stage: Stage, page: Page) -> Counter[str]:
    """Return the API reads so far, including those caused by all earlier events.

    Events arrive in order: once the page shows a change made now, earlier ones are handled.
    """
    sprints = page.get_by_label("Sprints")
    await stage.sql("update sprints set name = name || '!' where name = 'Second stage'")
    await expect(sprints).to_contain_text("!")
    await stage.sql("update sprints set name = 'Second stage' where name = 'Second stage!'")
    await expect(sprints).not_to_contain_text("!")
    reads = await stage.reads()
    del reads["project/sprints"]
    return reads


async def miss_some(stage: Stage) -> None:
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    await stage.sql("update tasks set status = 'done' where title = 'Pack lunch'")
    await stage.sql("update messages set body = 'Who is there?'")


async def assert_only_these_were_refetched(
    stage: Stage, page: Page, before: Counter[str], *paths: str
) -> None:
    await expect(card(page, "Lift off")).to_be_visible()
    await expect(page.get_by_label("Newest messages")).to_contain_text("Who is there?")
    after = await settled(stage, page)
    assert after - before == Counter(paths)


async def test_after_a_network_outage_exactly_the_missed_rows_are_refetched(
    stage: Stage,
) -> None:
    page = await stage.tab(stage.world.grace)
    before = await settled(stage, page)
    await stage.proxy.close()
    await expect(page.get_by_role("status")).to_have_text("Not live")
    async with asyncio.TaskGroup() as meanwhile:
        meanwhile.create_task(asyncio.sleep(OFF_SECONDS))
        await miss_some(stage)
    await stage.proxy.start()
    await page.evaluate(
        "dispatchEvent(new Event('online'))"
    )  # the event that a browser sends to its pages
    await assert_only_these_were_refetched(
        stage, page, before, "project/tasks", "project/messages"
    )


async def test_the_switch_cuts_the_socket_and_shows_the_catch_up(stage: Stage) -> None:
    page = await stage.tab(stage.world.grace)
    before = await settled(stage, page)
    switch = page.get_by_role("switch", name="Cut the socket")
    await switch.click()
    await expect(page.get_by_role("status")).to_have_text("Offline")
    await eventually(lambda: not stage.proxy.connected_ports, "no socket")
    await miss_some(stage)
    await switch.click()
    await assert_only_these_were_refetched(
        stage, page, before, "project/tasks", "project/messages"
    )


async def test_after_a_reload_only_missed_rows_are_fetched(stage: Stage) -> None:
    page = await stage.tab(stage.world.grace)
    await settled(stage, page)
    await stage.sql("update sprints set name = 'Kept' where name = 'First stage'")
    await expect(page.get_by_role("button", name="Kept")).to_be_visible()
    async with asyncio.timeout(HANG_SECONDS):
        while "Kept" not in await page.evaluate(STORED):
            await asyncio.sleep(0.05)
    before = await settled(stage, page)
    await page.goto("about:blank")
    await miss_some(stage)
    await page.goto(f"{stage.url}/#/{stage.world.apollo}")
    await expect(page.get_by_role("status")).to_have_text("Live")
    await expect(page.get_by_role("button", name="Kept")).to_be_visible()
    await assert_only_these_were_refetched(
        stage, page, before, "project/tasks", "project/messages"
    )


async def test_when_the_gateway_of_a_tab_is_killed_another_takes_over(stage: Stage) -> None:
    page = await stage.tab(stage.world.grace)
    before = await settled(stage, page)
    other = await stage.world.gateway()
    stage.proxy.target_ports.append(other.port)
    await stage.gateway.end(signal.SIGKILL)
    stage.gateway = other
    await miss_some(stage)
    await assert_only_these_were_refetched(
        stage, page, before, "project/tasks", "project/messages"
    )
    assert stage.proxy.connected_ports == [other.port]


async def test_ten_tabs_of_a_user_hold_one_socket(stage: Stage) -> None:
    ada = stage.world.ada
    pages = [await stage.tab(ada) for _ in range(10)]
    assert len(stage.proxy.connected_ports) == 1
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    for page in pages:
        await expect(card(page, "Lift off")).to_be_visible()

    first, *others = pages  # the first tab holds it
    await first.close()
    await stage.sql("update tasks set title = 'Land' where id = $1", TASK)
    for page in others:
        await expect(card(page, "Land")).to_be_visible()
        await expect(page.get_by_role("status")).to_have_text("Live")
    assert len(stage.proxy.connected_ports) == 1
