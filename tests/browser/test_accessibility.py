"""The page is accessible: by keyboard, to axe-core, with reduced motion, on a phone, dark."""

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Stage, card, in_column, take_picture
from tests.support.processes import ROOT

AXE: Final = ROOT / "demo/web/node_modules/axe-core/axe.min.js"
MAX_TABS: Final = 80


async def faults(page: Page) -> list[str]:
    """Return serious accessibility faults that axe-core finds."""
    await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {[node['html'] for node in one['nodes']]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    stage: Stage, scheme: Literal["light", "dark"]
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce"}
    page = await (await stage.context(stage.world.ada, **options)).new_page()
    await page.goto(stage.url)
    await expect(page.get_by_role("button", name="Continue as Ada")).to_be_visible()
    assert await faults(page) == []
    page = await stage.tab(stage.world.ada)
    await expect(page.get_by_role("heading", name="Apollo")).to_be_visible()
    assert await faults(page) == []
    await page.get_by_role("button", name="Pack lunch", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await faults(page) == []
    await page.goto(f"{stage.url}/plain/")
    await expect(page.get_by_role("status")).to_have_text("live")
    assert await faults(page) == []


async def test_a_task_is_moved_by_keyboard_alone(stage: Stage) -> None:
    page, other = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    handle = page.get_by_role("button", name="Move Pack lunch")
    for _ in range(MAX_TABS):
        await page.keyboard.press("Tab")
        if await handle.evaluate("element => element === document.activeElement"):
            break
    await expect(handle).to_be_focused()
    await page.keyboard.press("Space")
    await expect(handle).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_text("Pack lunch is over Doing.")).to_be_attached()
    await page.keyboard.press("ArrowRight")
    await expect(in_column(page, "Done", "Pack lunch")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(in_column(page, "To do", "Pack lunch")).to_be_visible()

    await page.keyboard.press("Space")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Space")
    await expect(in_column(page, "Doing", "Pack lunch")).to_be_visible()
    await expect(in_column(other, "Doing", "Pack lunch")).to_be_visible()
    await expect(handle).to_be_focused()


async def test_nothing_moves_with_reduced_motion(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada, reduced_motion="reduce")
    await stage.sql("update tasks set title = 'Lift off' where title = 'Fuel the rocket'")
    changed = card(page, "Lift off")
    await expect(changed).to_have_class("card glow")
    assert await changed.evaluate("card => card.getAnimations().length") == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}}),
        ("dark", {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}}),
        ("phone", {"color_scheme": "light", "viewport": {"width": 390, "height": 800}}),
    ],
)
async def test_the_page_fits(
    stage: Stage,
    name: str,
    options: dict[str, Any],
    keep_picture: Callable[[str, bytes], None],
) -> None:
    page = await stage.tab(stage.world.ada, **options)
    await stage.sql("update tasks set status = 'doing' where title = 'Pack lunch'")
    await stage.sql("update messages set body = 'All six digits agree.' where body ~ 'six'")
    await expect(in_column(page, "Doing", "Pack lunch")).to_have_class("card glow")
    await expect(page.get_by_label("Newest invalidations")).to_contain_text("message UPDATE")
    wide = "[...document.querySelectorAll('html, .panel, .column')]"
    wide += ".filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.outerHTML)"
    assert await page.evaluate(wide) == []
    keep_picture(f"board-{name}.webp", await take_picture(page))
