"""The status page: for the operator alone, live, accessible, on a phone, dark."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import ADMIN_KEY, Stage, take_picture
from tests.browser.test_accessibility import faults
from tests.support.processes import HANG_SECONDS, Client

RECORDED_SECONDS = 65


async def sign_in(stage: Stage, complaints: list[str] | None = None, **options: Any) -> Page:
    """Open the page with the key. *complaints* gets what the console shows."""
    page = await (await stage.context("operator", **options)).new_page()
    if complaints is not None:
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{stage.gateway.url}/status")
    await page.get_by_label("Admin key").fill(ADMIN_KEY)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("status")).to_have_text("Live")
    return page


def row(page: Page, table: str, text: str) -> Any:
    return page.locator(f"#{table} tr").filter(has_text=text)


async def test_the_page_shows_what_happens_until_the_operator_signs_out(stage: Stage) -> None:
    complaints: list[str] = []
    page = await sign_in(stage, complaints)
    async with AsyncExitStack() as clients:
        for _ in range(3):
            await clients.enter_async_context(
                stage.world.client(stage.gateway, stage.world.apollo, stage.world.ada)
            )
        await expect(
            row(page, "channels", f"project:{stage.world.apollo}").locator("td").last
        ).to_have_text("3")
        await expect(row(page, "gateways", "ready")).to_have_count(1)
        await expect(row(page, "listeners", "leader")).to_have_count(1)
        await expect(row(page, "redis", "up").filter(has_text="1 of 1")).to_have_count(1)
        await stage.sql("update tasks set title = 'Lift off' where title = 'Fuel the rocket'")
        events = page.get_by_role("img", name="Events per second")
        async with asyncio.timeout(HANG_SECONDS):
            while "at most 0" in str(await events.get_attribute("aria-label")):
                await asyncio.sleep(0.05)
    cookies = await page.context.cookies()
    assert [(one["httpOnly"], one["sameSite"]) for one in cookies] == [(True, "Strict")]
    assert complaints == []
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Admin key")).to_be_visible()
    await page.goto(f"{stage.gateway.url}/status")
    await expect(page.get_by_label("Admin key")).to_be_visible()


async def test_a_session_that_ends_leads_back_to_the_form(stage: Stage) -> None:
    page = await sign_in(stage)
    await page.context.clear_cookies()
    await expect(page.get_by_label("Admin key")).to_be_visible()


async def test_a_wrong_key_is_refused_and_may_be_corrected(stage: Stage) -> None:
    page = await (await stage.context("operator")).new_page()
    await page.goto(f"{stage.gateway.url}/status")
    await page.keyboard.type("wrong")  # the field has the focus
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("refused")
    await page.keyboard.type(ADMIN_KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("Live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    stage: Stage, scheme: Literal["light", "dark"]
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "bypass_csp": True}
    page = await (await stage.context("visitor", **options)).new_page()
    await page.goto(f"{stage.gateway.url}/status")
    assert await faults(page) == []
    page = await sign_in(stage, **options)
    assert await faults(page) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}}),
        ("dark", {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}}),
        ("phone", {"color_scheme": "light", "viewport": {"width": 390, "height": 1100}}),
    ],
)
async def test_the_status_page_fits(
    stage: Stage,
    name: str,
    options: dict[str, Any],
    keep_picture: Callable[[str, bytes], None],
    request: pytest.FixtureRequest,
) -> None:
    is_recorded = request.config.getoption("--record", default=False)
    page = await sign_in(stage, **options)
    async with AsyncExitStack() as clients:
        tasks = await clients.enter_async_context(asyncio.TaskGroup())
        for user in (stage.world.ada, stage.world.grace) * (10 if is_recorded else 1):
            client = await clients.enter_async_context(
                stage.world.client(stage.gateway, stage.world.apollo, user, v1=True)
            )
            tasks.create_task(read_all(client))
        await be_busy(stage, RECORDED_SECONDS if is_recorded else 1)
        await expect(row(page, "channels", "project:")).not_to_have_count(0)
    wide = "[...document.querySelectorAll('html, body, main, section:not(:has(.scroll))')]"
    wide += ".filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.outerHTML)"
    assert await page.evaluate(wide) == []
    keep_picture(f"status-{name}.webp", await take_picture(page))


async def read_all(client: Client) -> None:
    """Read until the socket is closed: a client that does not read is closed as too slow."""
    async for _ in client.socket:
        pass


async def be_busy(stage: Stage, seconds: float) -> None:
    """Make changes for some seconds, in waves."""
    time = asyncio.get_running_loop().time
    ends, number = time() + seconds, 0
    while time() < ends:
        number += 1
        for _ in range(1 + number % 7 * (number % 5)):
            await stage.sql("update tasks set title = title || '' where status = 'todo'")
            await stage.sql(
                f"update messages set body = 'Wave {number}' where body ~ 'six|Wave'"
            )
        await asyncio.sleep(0.2)
