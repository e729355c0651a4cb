"""Commands ask for the settings that they use."""

import pytest

from tests.support.world import World

WITHOUT_REDIS = {"REDIS_URL": "", "HEALTH_PORT": "no port"}


@pytest.mark.parametrize(
    "commands",
    [("install", "check", "disable", "uninstall"), ("sql",), ("init --output -",)],
    ids=["of the database", "sql", "init"],
)
async def test_commands_that_do_not_use_redis_do_not_ask_for_it(
    world: World, commands: tuple[str, ...]
) -> None:
    for command in commands:
        code, _, errors = await world.command("neverstale", *command.split(), **WITHOUT_REDIS)
        assert code == 0, (command, errors)


async def test_a_listener_needs_redis(world: World) -> None:
    code, _, errors = await world.command("listener", REDIS_URL="")
    assert code == 2
    assert "REDIS_URL is required" in errors
