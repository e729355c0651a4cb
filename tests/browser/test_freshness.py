"""All that the page shows is fresh, or the page says that it may be outdated."""

import re

from playwright.async_api import Locator, Page, WebSocketRoute, expect

from tests.browser.conftest import Stage, card, in_column, live
from tests.support.demo_data import GEMINI, TASK
from tests.support.processes import eventually

RENAME = "update tasks set title = 'Lift off' where id = $1"
# What a browser does when another tab is shown; Chromium without a window never does it.
SHOW = """(state) => {
    const visibility = { configurable: true, get: () => state };
    Object.defineProperty(document, 'visibilityState', visibility);
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
}"""
POLL_SECONDS = 36  # the longest pause between polls


def notice(page: Page) -> Locator:
    return page.locator(".notice")


async def test_a_first_connection_is_no_reset(stage: Stage) -> None:
    page = await stage.tab(stage.world.grace)
    await page.get_by_role("link", name="Gemini").click()
    await expect(card(page, "Find the other capsule")).to_be_visible()
    await expect(page.get_by_role("main")).to_have_attribute("data-status", "live")
    # events arrive in order: what came before this one is in the panel too
    await stage.sql("update tasks set title = 'Found it' where title ~ 'other capsule'")
    events = page.get_by_label("Newest invalidations").get_by_role("listitem")
    await expect(events).to_have_count(1)
    await expect(events).to_contain_text("task UPDATE")
    await expect(page.get_by_test_id("count")).to_have_text("1")


async def test_access_that_was_given_before_a_first_connection_is_no_reset(
    stage: Stage,
) -> None:
    page = await (await stage.context(stage.world.ada)).new_page()
    held: list[str] = []
    sockets: list[WebSocketRoute] = []
    is_held = True

    def hold(socket: WebSocketRoute) -> None:
        def receive(message: str | bytes) -> None:
            if is_held:
                held.append(str(message))
            else:
                socket.send(message)

        sockets.append(socket)
        socket.connect_to_server().on_message(receive)

    await page.route_web_socket(re.compile(r"/ws\?"), hold)
    await page.goto(f"{stage.url}/?as={stage.world.ada}#/{stage.world.apollo}")
    await eventually(lambda: bool(held), "the server's first message")
    await stage.sql("insert into project_members values ($1, $2)", GEMINI, stage.world.ada)
    await eventually(lambda: f"{GEMINI}:{stage.world.ada}" in str(held), "its event")
    (socket,) = sockets
    socket.send(held[0])
    await live(page)
    for message in held[1:]:
        socket.send(message)
    is_held = False
    await stage.sql(RENAME, TASK)
    await expect(card(page, "Lift off")).to_be_visible()
    events = page.get_by_label("Newest invalidations").get_by_role("listitem")
    await expect(events.filter(has_text="task UPDATE")).to_have_count(1)
    await expect(events.filter(has_text="reset")).to_have_count(0)


async def test_while_disconnected_the_board_says_so_and_shows_what_it_catches_up_with(
    stage: Stage,
) -> None:
    page = await stage.tab(stage.world.ada)
    await expect(notice(page)).to_be_empty()
    switch = page.get_by_role("switch", name="Cut the socket")
    await switch.click()
    await expect(notice(page)).to_contain_text("this page may be outdated")
    await stage.sql(RENAME, TASK)
    await stage.sql("update tasks set status = 'done' where title = 'Pack lunch'")

    await switch.click()
    await expect(notice(page)).to_have_text(
        "Caught up with 2 changes made while this page was not live."
    )
    for one in (card(page, "Lift off"), in_column(page, "Done", "Pack lunch")):
        await expect(one).to_contain_text("caught up")
    events = page.get_by_label("Newest invalidations").get_by_role("listitem")
    await expect(events.filter(has_text="caught up")).to_have_count(2)
    await expect(events.locator(".latency")).to_have_count(0)
    await expect(page.get_by_test_id("median")).not_to_contain_text("ms")

    await stage.sql("update messages set body = 'Live again'")
    await expect(events.first.locator(".latency")).to_contain_text("ms")
    await expect(page.get_by_test_id("median")).to_contain_text("ms")
    await expect(notice(page)).to_be_empty()  # after some seconds


async def test_while_disconnected_own_changes_are_shown(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    await page.get_by_role("switch", name="Cut the socket").click()
    await expect(page.get_by_role("status")).to_have_text("Offline")
    await page.get_by_label("Write to everybody").fill("Is anybody there?")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Newest messages")).to_contain_text("Is anybody there?")


async def test_after_a_reload_replayed_changes_are_not_measured(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    await page.goto("about:blank")
    await stage.sql(RENAME, TASK)
    await page.goto(f"{stage.url}/#/{stage.world.apollo}")
    await expect(card(page, "Lift off")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("Live")
    await expect(page.locator(".events .latency")).to_have_count(0)


async def test_every_panel_is_as_fresh_as_the_board(stage: Stage) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    crowd = grace.get_by_label("A crowd")
    await ada.get_by_role("button", name="Let them work").click()
    await expect(crowd).to_contain_text("At work: 20 a second")
    await ada.get_by_role("button", name="Send them home").click()
    await expect(crowd).not_to_contain_text("At work")

    await stage.sql("insert into users (name) values ('Margaret')")
    await expect(ada.get_by_label("Members")).to_contain_text("Margaret")
    await stage.sql("update users set name = 'Grace H.' where id = $1", stage.world.grace)
    for page in (ada, grace):
        await expect(page.get_by_label("Members")).to_contain_text("Grace H.")
        await expect(page.get_by_label("Newest messages")).to_contain_text("Grace H.")
    await expect(grace.get_by_role("banner")).to_contain_text("Grace H.")


async def test_a_hidden_tab_fetches_what_became_stale_once_it_is_visible(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    events = page.get_by_label("Newest invalidations").get_by_role("listitem")
    await page.evaluate(SHOW, "hidden")
    before = await stage.reads()
    for number, title in enumerate(("One", "Two", "Lift off"), start=1):
        await stage.sql("update tasks set title = $1 where id = $2", title, TASK)
        await expect(events).to_have_count(number)
    assert await stage.reads() == before
    await expect(card(page, "Fuel the rocket")).to_be_visible()

    await page.evaluate(SHOW, "visible")
    await expect(card(page, "Lift off")).to_be_visible()
    assert await stage.reads() - before == {"project/tasks": 1}


async def test_where_websockets_are_blocked_the_page_polls_and_refetches_on_return(
    stage: Stage,
) -> None:
    page = await (await stage.context(stage.world.ada)).new_page()
    await page.clock.install()
    await page.route_web_socket(re.compile(r"/ws\?"), lambda socket: socket.close())
    await page.goto(f"{stage.url}/?as={stage.world.ada}#/{stage.world.apollo}")
    await expect(card(page, "Fuel the rocket")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("Not live")
    await stage.sql(RENAME, TASK)
    await page.clock.fast_forward(POLL_SECONDS * 1000)
    await expect(card(page, "Lift off")).to_be_visible()

    await page.evaluate(SHOW, "hidden")
    await stage.sql("update tasks set title = 'Splash down' where id = $1", TASK)
    await page.evaluate(SHOW, "visible")
    await expect(card(page, "Splash down")).to_be_visible()


async def test_the_filter_of_a_deleted_sprint_ends_with_it(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    await page.get_by_role("button", name="Second stage").click()
    await expect(card(page, "Fuel the rocket")).to_be_hidden()
    await stage.sql("delete from sprints where name = 'Second stage'")
    await expect(card(page, "Fuel the rocket")).to_be_visible()


async def test_a_failing_refetch_is_shown_until_it_succeeds(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    await page.route("**/tasks", lambda route: route.abort())
    await stage.sql(RENAME, TASK)
    problem = page.get_by_role("alert")
    await expect(problem).to_contain_text("This may be outdated")
    await expect(card(page, "Pack lunch")).to_be_visible()
    await page.unroute("**/tasks")
    await expect(card(page, "Lift off")).to_be_visible()
    await expect(problem).to_have_count(0)
