"""Whoever loses or gains a project sees so, at once."""

from playwright.async_api import expect

from tests.browser.conftest import Stage


async def test_a_removed_member_is_told_so_and_an_invitation_brings_it_back(
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


async def test_a_new_project_appears_in_the_lists_of_its_people(stage: Stage) -> None:
    ada, grace = await stage.tab(stage.world.ada), await stage.tab(stage.world.grace)
    await ada.get_by_label("New project").fill("Voyager")
    await ada.keyboard.press("Enter")
    link = ada.get_by_label("Projects").get_by_role("link", name="Voyager")
    await link.click()
    await ada.get_by_role("button", name="Invite Grace").click()
    await expect(
        grace.get_by_label("Projects").get_by_role("link", name="Voyager")
    ).to_be_visible()
