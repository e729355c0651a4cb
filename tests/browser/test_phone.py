"""On a phone, cause and effect are visible together, and a card can be dragged anywhere."""

from typing import Any, Final

from playwright.async_api import CDPSession, FloatRect, Locator, Page, expect

from tests.browser.conftest import NEXT_FRAMES, Stage, card, in_column
from tests.support.demo_data import TASK

PHONE: Final[dict[str, Any]] = {
    "viewport": {"width": 390, "height": 800},
    "has_touch": True,
    "is_mobile": True,
}
ONE_ROW_PX: Final = 64
BOTTOM: Final = 790.0  # near the edge of the viewport, where the page scrolls


async def box(element: Locator) -> FloatRect:
    found = await element.bounding_box()
    assert found is not None
    return found


async def test_cause_and_effect_are_visible_together(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada, **PHONE)
    await stage.sql("update tasks set title = 'Lift off' where id = $1", TASK)
    strip = page.locator(".strip")
    await expect(strip).to_contain_text("task UPDATE")
    await expect(strip).to_contain_text("refetched tasks")
    for one in (strip, card(page, "Lift off")):
        await expect(one).to_be_in_viewport(ratio=1)

    events = page.get_by_label("Newest invalidations")
    await expect(events).to_be_hidden()
    await strip.click()
    await expect(strip).to_have_attribute("aria-expanded", "true")
    await expect(events.get_by_text(TASK)).to_be_in_viewport()
    await strip.click()
    await expect(events).to_be_hidden()


async def test_the_header_is_one_row(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada, **PHONE)
    await expect(page.locator(".notice")).to_be_empty()
    assert (await box(page.get_by_role("banner")))["height"] <= ONE_ROW_PX
    first = await box(page.get_by_role("link", name="Apollo"))
    form = await box(page.get_by_label("New project"))
    assert abs(first["y"] - form["y"]) < first["height"], "one row, which scrolls"


class Finger:
    """Drags a card by its handle."""

    def __init__(self, page: Page, session: CDPSession, x: float, y: float) -> None:
        self._page = page
        self._session = session
        self._x = x
        self._y = y

    @classmethod
    async def lift(cls, page: Page, title: str) -> "Finger":
        handle = await box(page.get_by_role("button", name=f"Move {title}"))
        session = await page.context.new_cdp_session(page)
        x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
        finger = cls(page, session, x, y)
        await finger._send("touchStart", y)
        await finger.move(y + 20)
        return finger

    async def move(self, y: float) -> None:
        await self._send("touchMove", y)

    async def drop(self) -> None:
        await self._session.send(
            "Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []}
        )

    async def _send(self, kind: str, y: float) -> None:
        points = [{"x": self._x, "y": y}]
        await self._session.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )


async def test_the_page_scrolls_while_a_card_is_dragged(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada, **PHONE)
    done = page.get_by_label("Done", exact=True)
    await expect(done).not_to_be_in_viewport()
    finger = await Finger.lift(page, "Fuel the rocket")
    await finger.move(BOTTOM)
    await page.wait_for_function(
        """() => {
            const done = document.querySelector('[data-column=done]');
            return done.getBoundingClientRect().top < innerHeight - 300;
        }"""
    )
    await finger.move(400)  # where it does not scroll
    await finger.move((await box(done))["y"] + 30)
    await expect(done).to_have_attribute("data-over", "true")
    await finger.drop()
    await expect(in_column(page, "Done", "Fuel the rocket")).to_be_visible()


async def test_a_dragged_card_does_not_make_the_page_longer(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada, **PHONE)
    end = await page.evaluate("document.documentElement.scrollHeight - innerHeight")
    finger = await Finger.lift(page, "Fuel the rocket")
    await finger.move(BOTTOM)
    await page.wait_for_function("end => scrollY >= end", arg=end)
    await page.evaluate(NEXT_FRAMES)
    assert await page.evaluate("scrollY") == end
    await finger.drop()
