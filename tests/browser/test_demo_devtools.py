"""The demo shows the npm package's devtools when they are asked for."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Stage, card, take_picture
from tests.browser.test_accessibility import faults
from tests.support.demo_data import TASK

RENAME = "update tasks set title = 'Lift off' where id = $1"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}}


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="Neverstale devtools")


def event(page: Page, text: str) -> Locator:
    return panel(page).locator(".events summary").filter(has_text=text).first


async def with_devtools(stage: Stage, **options: Any) -> Page:
    """Open the address that shows the devtools, and wait until earlier events are handled."""
    page = await (await stage.context(stage.world.ada, **options)).new_page()
    await page.goto(f"{stage.url}/?as={stage.world.ada}&devtools#/{stage.world.apollo}")
    await expect(page.get_by_role("main")).to_have_attribute("data-status", "live")
    await expect(card(page, "Fuel the rocket")).to_be_visible()
    await expect(panel(page).get_by_role("status")).to_have_text("live")
    # Events arrive in order: those of the data that the stage was given are before this one.
    sprint = str(uuid4())
    await stage.sql(
        "insert into sprints (id, project_id, name) values ($1, $2, 'Third stage')",
        sprint,
        stage.world.apollo,
    )
    await expect(event(page, sprint)).to_be_visible()
    await expect(page.get_by_label("Sprints")).to_contain_text("Third stage")
    await panel(page).get_by_role("button", name="Clear").click()
    return page


async def test_their_code_is_loaded_when_they_are_switched_on(stage: Stage) -> None:
    page = await stage.tab(stage.world.ada)
    scripts: list[str] = []
    page.on("request", lambda request: scripts.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    switch = page.get_by_role("switch", name="Devtools")
    assert await page.locator("[data-neverstale]").count() == 0

    await switch.click()
    await expect(panel(page)).to_be_visible()
    assert [url for url in scripts if url.endswith(".js")]
    await expect(panel(page)).to_contain_text(stage.world.apollo)

    await stage.sql(RENAME, TASK)
    await expect(event(page, "task")).to_contain_text("refetched")
    await event(page, "task").click()
    await expect(panel(page).locator("details[open]")).to_contain_text("tasks")

    await switch.click()
    await expect(page.locator("[data-neverstale]")).to_have_count(0)
    assert complaints == []


async def test_they_control_the_connection_of_the_page(stage: Stage) -> None:
    page = await with_devtools(stage)
    await panel(page).get_by_role("button", name="Disconnect").click()
    await expect(page.locator(".notice")).to_contain_text("this page may be outdated")
    await stage.sql(RENAME, TASK)
    await panel(page).get_by_role("button", name="Connect", exact=True).click()
    await expect(page.locator(".notice")).to_contain_text("Caught up with a change")
    await expect(event(page, "task")).to_contain_text("refetched")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}}),
        ("dark", {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}}),
        ("phone", {"color_scheme": "light", **PHONE}),
    ],
)
async def test_the_demo_fits_beside_them(
    stage: Stage,
    name: str,
    options: dict[str, Any],
    keep_picture: Callable[[str, bytes], None],
) -> None:
    page = await with_devtools(stage, **options)
    await stage.sql("update sprints set name = 'Last stage' where name = 'Third stage'")
    await expect(event(page, "sprint")).to_contain_text("refetched")
    await panel(page).get_by_role("button", name="Disconnect").click()
    await stage.sql("update messages set body = 'All six digits agree.' where body ~ 'six'")
    await panel(page).get_by_role("button", name="Connect", exact=True).click()
    await expect(event(page, "message")).to_contain_text("refetched")
    await stage.sql("update tasks set status = 'doing' where title = 'Pack lunch'")
    await expect(event(page, "task")).to_contain_text("refetched")
    await event(page, "task").click()
    assert await faults(page) == []
    keep_picture(f"devtools-{name}.webp", await take_picture(page))


async def test_on_a_phone_their_button_is_above_the_strip(stage: Stage) -> None:
    page = await with_devtools(stage, **PHONE)
    await panel(page).get_by_role("button", name="Close").click()
    button = await page.get_by_role("button", name="Neverstale: live").bounding_box()
    strip = await page.locator(".strip").bounding_box()
    assert button is not None
    assert strip is not None
    assert button["y"] + button["height"] <= strip["y"]
