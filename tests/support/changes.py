"""Changes of the demo's rows, and what clients must receive for them."""

from typing import Any

from tests.support.demo_data import TASK
from tests.support.processes import Client
from tests.support.world import World


def is_reset(frame: dict[str, Any]) -> bool:
    return bool(frame["type"] == "reconnect")


async def change(world: World, title: str = "changed") -> None:
    await world.database.execute("update tasks set title = $1 where id = $2", title, TASK)


async def insert_tasks(world: World, number: int) -> set[str]:
    """Insert *number* tasks, each in its own transaction. Return their ids."""
    ids = set()
    for _ in range(number):
        row = await world.database.fetchval(
            "insert into tasks (project_id, title) values ($1, 'new') returning id",
            world.apollo,
        )
        ids.add(str(row))
    return ids


async def assert_flows(world: World, client: Client) -> None:
    """Change a task until its event is received, with only resets before it."""
    await change(world, "after")
    while is_reset(await client.next()):
        await change(world, "after")


async def assert_consistent_after(client: Client, changed: set[str]) -> list[dict[str, Any]]:
    """Receive until each change has had its event, or a reset has covered the rest."""
    missing = set(changed)
    frames: list[dict[str, Any]] = []
    while missing:
        frames.append(await client.next())
        if is_reset(frames[-1]):
            missing.clear()
        else:
            missing.discard(frames[-1].get("data", {}).get("id"))
    return frames
