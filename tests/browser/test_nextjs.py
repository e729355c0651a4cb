"""The Next.js example: what its server rendered is not fetched again, and stays fresh."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from deploy.dev.servers import free_port
from tests.browser.conftest import STORED, Stage
from tests.support.demo_data import ADA, GEMINI, TASK
from tests.support.processes import HANG_SECONDS, ROOT, WS_PATH

EXAMPLE: Final = ROOT / "examples/nextjs"
NEXT: Final = EXAMPLE / "node_modules/next/dist/bin/next"

pytestmark = pytest.mark.skipif(
    not (EXAMPLE / ".next/BUILD_ID").exists(),
    reason="the example is not built (make example-nextjs, with Node)",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(theatre: Stage) -> AsyncIterator[str]:
    """Serve the built example, on the demo's API; return its URL."""
    port = free_port()
    gateway = f"http://127.0.0.1:{theatre.proxy.port}{WS_PATH}"
    process = await asyncio.create_subprocess_exec(
        *("node", str(NEXT), "start", "--hostname", "127.0.0.1", "--port", str(port)),
        cwd=EXAMPLE,
        env={
            **os.environ,
            "API_URL": theatre.url,
            "GATEWAY_URL": gateway,
            "GATEWAY_PUBLIC_URL": gateway,
            "NEXT_TELEMETRY_DISABLED": "1",
            "NODE_OPTIONS": "--experimental-websocket",  # Node 20; newer ones have it anyway
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await _serving(theatre.world.http, url, process)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _serving(
    http: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process
) -> None:
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            assert process.returncode is None, "it has ended: see its output"
            try:
                async with http.get(url) as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def signed_in(stage: Stage, site: str) -> Page:
    """Return a page on which Ada has signed in, live on project Apollo."""
    page = await (await stage.context(stage.world.ada)).new_page()
    await page.goto(site)
    await page.get_by_role("button", name="Ada").click()
    await page.wait_for_url(f"{site}/projects/*")
    await page.goto(f"{site}/projects/{stage.world.apollo}")
    await expect(page.get_by_role("status")).to_have_text("live")
    return page


async def rename(stage: Stage, title: str) -> None:
    await stage.sql("update tasks set title = $2 where id = $1", TASK, title)


async def test_what_the_server_rendered_is_not_fetched_again(stage: Stage, site: str) -> None:
    page = await signed_in(stage, site)
    before = await stage.reads()
    await page.reload()
    tasks = page.get_by_label("Tasks")
    await expect(tasks).to_contain_text("Fuel the rocket")
    await expect(page.get_by_role("status")).to_have_text("live")
    await rename(stage, "Lift off")
    await expect(tasks).to_contain_text("Lift off")
    # the server's reads, and one for the event
    assert await stage.reads() - before == Counter({"projects": 1, "project/tasks": 2})


async def test_a_change_before_the_page_connects_is_not_missed(stage: Stage, site: str) -> None:
    page = await signed_in(stage, site)
    is_renamed = asyncio.Event()

    async def hold(route: Route) -> None:
        await is_renamed.wait()
        await route.continue_()

    await page.route("**/*.js*", hold)
    before = await stage.reads()
    await page.reload(wait_until="commit")
    tasks = page.get_by_label("Tasks")
    await expect(tasks).to_contain_text("Fuel the rocket")
    await rename(stage, "Lift off")
    is_renamed.set()
    await expect(tasks).to_contain_text("Lift off")
    await expect(page.get_by_role("status")).to_have_text("live")
    assert await stage.reads() - before == Counter({"projects": 1, "project/tasks": 2})


async def test_a_page_that_is_navigated_to_is_not_fetched_again(
    stage: Stage, site: str
) -> None:
    await stage.sql("update projects set owner_id = $1 where id = $2", ADA, GEMINI)
    page = await signed_in(stage, site)
    tasks = page.get_by_label("Tasks")
    await page.get_by_role("link", name="Gemini").click()
    await page.wait_for_url(f"{site}/projects/{GEMINI}")
    await expect(page.get_by_role("status")).to_have_text("live")
    before = await stage.reads()
    await page.get_by_role("link", name="Apollo").click()
    await expect(tasks).to_contain_text("Fuel the rocket")
    await expect(page.get_by_role("status")).to_have_text("live")
    await rename(stage, "Lift off")
    await expect(tasks).to_contain_text("Lift off")
    assert (await stage.reads() - before)["project/tasks"] == 2


async def test_after_a_sign_out_nothing_is_stored(stage: Stage, site: str) -> None:
    page = await signed_in(stage, site)
    other = await (await stage.context(stage.world.ada)).new_page()
    await other.clock.install()
    await other.goto(page.url)
    await expect(other.get_by_role("status")).to_have_text("live")
    await rename(stage, "Lift off")
    async with asyncio.timeout(HANG_SECONDS):
        while "Lift off" not in await page.evaluate(STORED):
            await asyncio.sleep(0.05)
    # the page is left before the sign-out has ended
    await page.evaluate(
        """() => {
            document.querySelector('button').click();
            location.href = '/';
        }"""
    )
    # The sign-out leaves the page, too, and either navigation may end the other: what counts
    # is where the page arrives.
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page).to_have_url(f"{site}/")
    assert await page.evaluate(STORED) == ""
    async with other.expect_request("**/tasks"):
        await rename(stage, "Land")
    await other.clock.fast_forward(2_000)  # a cache is saved at most once a second
    assert await other.evaluate(STORED) == ""
