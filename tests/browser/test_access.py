"""A user who loses or gains a project sees it at once; an expiring token goes unnoticed."""

import asyncio

from playwright.async_api import expect

from deploy.dev.servers import free_port
from tests.browser.conftest import PAGE, Stage, card, live
from tests.support.demo_data import KATHERINE
from tests.support.processes import Part


async def test_a_removed_member_sees_a_notice_and_an_invitation_restores_the_project(
    stage: Stage,
) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    await ada.get_by_role("button", name="Remove Grace").click()
    await expect(grace.get_by_role("alert")).to_contain_text(
        "You are no longer in this project"
    )
    await expect(
        grace.get_by_label("Projects").get_by_role("link", name="Apollo")
    ).to_be_hidden()

    await ada.get_by_role("button", name="Invite Grace").click()
    await expect(grace.get_by_role("heading", name="Apollo")).to_be_visible()
    await expect(
        grace.get_by_label("Projects").get_by_role("link", name="Apollo")
    ).to_be_visible()


async def test_a_new_project_appears_in_the_lists_of_its_members(stage: Stage) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    await ada.get_by_label("New project").fill("Voyager")
    await ada.keyboard.press("Enter")
    link = ada.get_by_label("Projects").get_by_role("link", name="Voyager")
    await link.click()
    await ada.get_by_role("button", name="Invite Grace").click()
    await expect(
        grace.get_by_label("Projects").get_by_role("link", name="Voyager")
    ).to_be_visible()


async def demo_with_short_tokens(stage: Stage, seconds: int) -> Part:
    port = free_port()
    settings = stage.world.environment(
        PORT=str(port),
        GATEWAY_PORT=str(stage.proxy.port),
        PAGE_FOLDER=str(PAGE),
        TOKEN_SECONDS=str(seconds),
    )
    demo = Part("demo", settings, port)
    stage.world.parts.append(demo)
    await demo.start()
    await demo.ready(stage.world.http)
    return demo


async def test_a_user_whose_sign_in_cannot_be_renewed_signs_in_again(stage: Stage) -> None:
    demo = await demo_with_short_tokens(stage, 6)
    page = await (await stage.context(KATHERINE)).new_page()
    await page.goto(f"{demo.url}/?as={KATHERINE}#/{stage.world.apollo}")
    await live(page)
    await stage.sql("delete from users where id = $1", KATHERINE)
    await expect(page.get_by_role("button", name="Continue as Ada")).to_be_visible()
    await expect(page.get_by_role("button", name="Continue as Katherine")).to_have_count(0)


async def test_a_page_stays_live_after_its_token_has_expired(stage: Stage) -> None:
    demo = await demo_with_short_tokens(stage, 12)
    page = await (await stage.context(stage.world.ada)).new_page()
    loop = asyncio.get_running_loop()
    signed_in = loop.time()
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.goto(f"{demo.url}/?as={stage.world.ada}#/{stage.world.apollo}")
    await live(page)
    while loop.time() < signed_in + 20:  # past the end of the first token
        await expect(page.get_by_role("status")).to_have_text("Live")
        await asyncio.sleep(0.2)
    await stage.sql("update tasks set title = 'Outlived' where title = 'Fuel the rocket'")
    await expect(card(page, "Outlived")).to_be_visible()
    assert len(sockets) == 1, "a fresh token was sent on the same socket"
