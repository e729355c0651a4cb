"""A user's own changes are shown at once, and nothing that is under way takes them back."""

import asyncio
from contextlib import suppress

from playwright.async_api import Error, Page, Route, expect

from tests.browser.conftest import NEXT_FRAMES, STORED, Stage, card, in_column
from tests.support.demo_data import OTHER_TASK, TASK
from tests.support.processes import HANG_SECONDS

TITLE = "Fuel the rocket"
# Where the card is seen in each frame, by its column: each place once, in order.
RECORD = """title => {
    window.places = [];
    const columns = [...document.querySelectorAll('[data-column]')];
    const place = () => {
        const card = [...document.querySelectorAll('.card')].find(
            (one) => one.textContent.includes(title));
        if (!card) return 'nowhere';
        const { left, width } = card.getBoundingClientRect();
        return columns.find((one) => one.getBoundingClientRect().right > left + width / 2)
            ?.dataset.column;
    };
    const record = () => {
        if (window.places.at(-1) !== place()) window.places.push(place());
        requestAnimationFrame(record);
    };
    record();
}"""


async def drag(page: Page, title: str, column: str) -> None:
    await card(page, title).hover(position={"x": 100, "y": 60})
    await page.mouse.down()
    await page.get_by_label(column, exact=True).hover()
    await page.mouse.up()


class Held:
    """Holds the requests of one method for the tasks of a page, each until it is released."""

    def __init__(self, page: Page, method: str, *, has_answer: bool = False) -> None:
        self._page = page
        self._method = method
        self._has_answer = has_answer  # the server answers first, and the answer is held
        self._released = asyncio.Event()
        self.count = 0
        self._arrived = asyncio.Condition()

    async def start(self) -> None:
        await self._page.route("**/tasks**", self._hold)

    async def arrived(self, count: int) -> None:
        async with asyncio.timeout(HANG_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: self.count >= count)

    def release(self) -> None:
        self._released.set()

    async def _hold(self, route: Route) -> None:
        if route.request.method != self._method or self._released.is_set():
            await route.fallback()
            return
        answer = await route.fetch() if self._has_answer else None
        async with self._arrived:
            self.count += 1
            self._arrived.notify_all()
        await self._released.wait()
        with suppress(Error):  # the page has cancelled it
            await (route.fulfill(response=answer) if answer else route.continue_())


async def test_a_dropped_card_never_jumps_back(stage: Stage) -> None:
    page, other = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    old_answer = Held(page, "GET", has_answer=True)
    await old_answer.start()
    await stage.sql("update tasks set title = 'Pack dinner' where id = $1", OTHER_TASK)
    await old_answer.arrived(1)

    change = Held(page, "PATCH")
    await change.start()
    await page.evaluate(RECORD, TITLE)
    await drag(page, TITLE, "Done")
    await change.arrived(1)
    old_answer.release()
    # a teammate's change, while this one is under way
    await stage.sql("update tasks set title = 'Check the sums' where title ~ 'by hand'")
    await expect(card(other, "Check the sums")).to_be_visible()
    await page.evaluate(NEXT_FRAMES)
    await expect(in_column(page, "Done", TITLE)).to_be_visible()
    change.release()
    await expect(in_column(other, "Done", TITLE)).to_be_visible()
    await expect(card(page, "Check the sums")).to_be_visible()
    await expect(card(page, "Pack dinner")).to_be_visible()
    await page.evaluate(NEXT_FRAMES)
    assert (await page.evaluate("places")) in (["todo", "done"], ["todo", "doing", "done"])


async def test_an_older_answer_after_that_of_a_change_is_not_shown(stage: Stage) -> None:
    page, other = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    old_answer = Held(page, "GET", has_answer=True)
    await old_answer.start()
    await stage.sql("update tasks set title = 'Pack dinner' where id = $1", OTHER_TASK)
    await old_answer.arrived(1)
    await page.evaluate(RECORD, TITLE)
    await drag(page, TITLE, "Done")
    await expect(in_column(other, "Done", TITLE)).to_be_visible()
    old_answer.release()
    await expect(card(page, "Pack dinner")).to_be_visible()
    assert (await page.evaluate("places")) in (["todo", "done"], ["todo", "doing", "done"])


async def test_the_last_of_two_overlapping_changes_wins(stage: Stage) -> None:
    page, other = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    changes = Held(page, "PATCH")
    await changes.start()
    await page.evaluate(RECORD, TITLE)
    await drag(page, TITLE, "Doing")
    await changes.arrived(1)
    await expect(in_column(page, "Doing", TITLE)).to_be_visible()
    await drag(page, TITLE, "Done")
    await expect(in_column(page, "Done", TITLE)).to_be_visible()
    changes.release()
    await expect(in_column(other, "Done", TITLE)).to_be_visible()
    await page.evaluate(NEXT_FRAMES)
    assert await page.evaluate("places") == ["todo", "doing", "done"]
    row = "select status from tasks where id = $1"
    assert await stage.world.database.fetchval(row, TASK) == "done"


async def test_a_change_that_fails_is_taken_back_with_the_reason(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)

    async def refuse(route: Route) -> None:
        if route.request.method == "PATCH":
            await route.fulfill(status=400, json={"error": {"message": "not on a Monday"}})
        else:
            await route.fallback()

    await page.route("**/tasks/*", refuse)
    await drag(page, TITLE, "Done")
    await expect(page.get_by_role("alert")).to_contain_text("Not saved: not on a Monday")
    await expect(in_column(page, "To do", TITLE)).to_be_visible()
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_change_made_offline_survives_the_page(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    await page.context.set_offline(True)
    await expect(page.get_by_role("status")).to_have_text("Offline")
    await drag(page, TITLE, "Done")
    await expect(in_column(page, "Done", TITLE)).to_be_visible()
    async with asyncio.timeout(HANG_SECONDS):
        while "change task" not in await page.evaluate(STORED):
            await asyncio.sleep(0.05)
    await page.close()
    await stage.contexts[stage.world.ada].set_offline(False)
    later = await stage.tab(stage.world.ada)
    await expect(in_column(later, "Done", TITLE)).to_be_visible()
    other = await stage.tab(stage.world.grace)
    await expect(in_column(other, "Done", TITLE)).to_be_visible()


async def test_a_dialog_keeps_what_somebody_else_changed_meanwhile(stage: Stage) -> None:
    page, other = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    await page.get_by_role("button", name=TITLE, exact=True).click()
    dialog = page.get_by_role("dialog", name="Task")
    await stage.sql("update tasks set status = 'done' where id = $1", TASK)
    await expect(dialog.get_by_role("alert")).to_contain_text("Somebody has just changed")
    await dialog.get_by_label("Title").fill("Lift off")
    await dialog.get_by_role("button", name="Save").click()
    for each in (page, other):
        await expect(in_column(each, "Done", "Lift off")).to_be_visible()
