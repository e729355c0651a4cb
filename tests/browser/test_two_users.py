"""One user's changes appear on the other user's page without a reload."""

from playwright.async_api import Page, expect

from tests.browser.conftest import Stage, card, in_column
from tests.support.demo_data import KATHERINE, TASK


async def write(page: Page, label: str, text: str) -> None:
    await page.get_by_label(label, exact=True).fill(text)
    await page.keyboard.press("Enter")


async def test_a_change_of_anything_appears_in_the_other_tab(stage: Stage) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    loads: list[str] = []
    grace.on("framenavigated", lambda frame: loads.append(frame.url))

    await write(ada, "New task", "Polish the visor")
    await expect(card(grace, "Polish the visor")).to_be_visible()

    await write(ada, "New sprint", "Splashdown")
    await expect(grace.get_by_role("button", name="Splashdown")).to_be_visible()

    await write(grace, "Write to everybody", "Go for launch")
    await expect(ada.get_by_label("Newest messages")).to_contain_text("Go for launch")

    await ada.get_by_role("button", name="Invite Alan").click()
    await expect(grace.get_by_label("Members")).to_contain_text("Alan")

    await ada.get_by_role("button", name="Edit project").click()
    await ada.get_by_label("Name", exact=True).fill("Apollo 11")
    await ada.get_by_role("button", name="Save").click()
    for page in (ada, grace):
        await expect(page.get_by_role("heading", name="Apollo 11")).to_be_visible()
        await expect(page.get_by_label("Projects")).to_contain_text("Apollo 11")

    assert loads == []


async def test_a_change_by_plain_sql_appears_in_both(stage: Stage) -> None:
    pages = [await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)]
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    await stage.sql("update sprints set name = 'Stage one' where name = 'First stage'")
    await stage.sql("update messages set body = 'To seven digits'")
    await stage.sql("update project_members set role = 'pilot'")
    await stage.sql("update projects set name = 'Artemis' where id = $1", stage.world.apollo)
    for page in pages:
        await expect(card(page, "Lift off")).to_be_visible()
        await expect(page.get_by_role("button", name="Stage one")).to_be_visible()
        await expect(page.get_by_label("Newest messages")).to_contain_text("To seven digits")
        await expect(page.get_by_label("Members")).to_contain_text("pilot")
        await expect(page.get_by_role("heading", name="Artemis")).to_be_visible()


async def test_a_dragged_card_moves_and_glows_on_the_other_page(stage: Stage) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    # the glow is short: record it when it appears
    await grace.evaluate(
        """() => new MutationObserver((all) => all.forEach(({ target }) => {
            if (target.classList.contains('glow')) window.glowed = target.textContent;
        })).observe(document.body, { subtree: true, attributeFilter: ['class'] })"""
    )
    await card(ada, "Fuel the rocket").hover(position={"x": 100, "y": 60})
    await ada.mouse.down()
    await ada.get_by_label("Done", exact=True).hover()
    await ada.mouse.up()

    await expect(in_column(grace, "Done", "Fuel the rocket")).to_be_visible()
    assert "Fuel the rocket" in await grace.evaluate("window.glowed")
    assert await ada.locator(".glow").count() == 0, "one's own change"


async def test_the_event_panel_shows_latency_and_refetched_queries(
    stage: Stage,
) -> None:
    ada = await stage.tab(stage.world.ada)
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    event = ada.get_by_label("Newest invalidations").get_by_role("listitem").first
    await expect(event).to_contain_text("task UPDATE")
    await expect(event).to_contain_text(TASK)
    await expect(event).to_contain_text("refetched tasks")
    latency = await event.locator(".latency").inner_text()
    assert latency.endswith(" ms")
    assert int(latency.removesuffix(" ms")) < 1000


async def test_a_crowd_works_until_it_is_stopped(stage: Stage) -> None:
    ada, katherine = await stage.tab(stage.world.ada), await stage.tab(KATHERINE)
    await ada.get_by_role("slider").fill("200")
    await ada.get_by_role("button", name="Let them work").click()
    heard = katherine.get_by_test_id("count")
    before = int(await heard.inner_text())
    await katherine.wait_for_function(
        "before => document.querySelector('[data-testid=count]').textContent - before > 100",
        arg=before,
    )
    await ada.get_by_role("button", name="Send them home").click()
    await expect(ada.get_by_role("button", name="Let them work")).to_be_visible()
    rows = await stage.world.database.fetch(
        "select title, status from tasks where project_id = $1", stage.world.apollo
    )
    names = {"todo": "To do", "doing": "Doing", "done": "Done"}
    for page in (ada, katherine):
        for row in rows:
            await expect(in_column(page, names[row["status"]], row["title"])).to_be_visible()
