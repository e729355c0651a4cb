"""The hand-written client, with a cookie in a browser and a header in Node."""

import asyncio
import json

from playwright.async_api import expect

from tests.browser.conftest import Stage
from tests.support.demo_data import TASK
from tests.support.processes import HANG_SECONDS, ROOT, token

RENAME = "update tasks set title = 'Lift off' where id = $1"


async def test_in_a_browser_the_cookie_identifies_the_user(stage: Stage) -> None:
    world = stage.world
    signed_in = await stage.tab(world.ada)
    page = await signed_in.context.new_page()
    await page.goto(f"{stage.url}/plain/?project={world.apollo}")
    await expect(page.get_by_role("status")).to_have_text("live")
    await expect(page.locator("#tasks")).to_contain_text("Fuel the rocket: todo")
    await stage.sql(RENAME, TASK)
    await expect(page.locator("#tasks")).to_contain_text("Lift off: todo")
    await expect(page.locator("#events li").first).to_have_text(
        f"tasks detail {TASK}, tasks list {world.apollo}, tasks sprint"
    )


async def test_a_browser_without_the_cookie_is_asked_to_sign_in(stage: Stage) -> None:
    page = await (await stage.context(stage.world.ada)).new_page()
    await page.goto(f"{stage.url}/plain/")
    await expect(page.get_by_role("status")).to_have_text("not connected")
    await expect(page.get_by_role("alert")).to_have_text("Sign in on the board first")


async def test_while_disconnected_it_says_so_and_fetches_by_itself(stage: Stage) -> None:
    world = stage.world
    signed_in = await stage.tab(world.ada)
    page = await signed_in.context.new_page()
    await page.clock.install()
    await page.goto(f"{stage.url}/plain/?project={world.apollo}")
    await expect(page.get_by_role("status")).to_have_text("live")
    outdated = page.get_by_text("these tasks may be outdated")
    await expect(outdated).to_be_hidden()

    await stage.proxy.close()
    await expect(page.get_by_role("status")).to_contain_text("trying again in")
    await expect(outdated).to_be_visible()
    await stage.sql(RENAME, TASK)
    await page.clock.fast_forward(30_000)
    await expect(page.locator("#tasks")).to_contain_text("Lift off: todo")

    await stage.proxy.start()
    await page.evaluate("dispatchEvent(new Event('online'))")
    await expect(page.get_by_role("status")).to_have_text("live")
    await expect(outdated).to_be_hidden()
    await expect(page.locator("#events li").first).to_have_text("everything (connected)")


async def test_without_access_it_shows_nothing(stage: Stage) -> None:
    world = stage.world
    signed_in = await stage.tab(world.grace)
    page = await signed_in.context.new_page()
    await page.goto(f"{stage.url}/plain/?project={world.apollo}")
    await expect(page.locator("#tasks")).to_contain_text("Fuel the rocket")
    await stage.sql("delete from project_members where user_id = $1", world.grace)
    await expect(page.get_by_role("status")).to_have_text("closed with 4403")
    await expect(page.get_by_role("alert")).to_have_text("You are not in this project")
    await expect(page.locator("#tasks")).to_be_empty()


async def test_in_node_the_same_file_sends_a_header(stage: Stage) -> None:
    world = stage.world
    process = await asyncio.create_subprocess_exec(
        *("node", "demo/web/plain/node.js", stage.gateway.url, world.apollo, token(world.ada)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(HANG_SECONDS):
        assert json.loads(await process.stdout.readline()) == "live"
        assert json.loads(await process.stdout.readline()) == "everything"
        await stage.sql(RENAME, TASK)
        assert json.loads(await process.stdout.readline()) == [
            ["tasks", "detail", TASK],
            ["tasks", "list", world.apollo],
            ["tasks", "sprint"],
        ]
        process.terminate()
        assert json.loads(await process.stdout.readline()) == "closed with 1000"
        assert await process.wait() == 0
