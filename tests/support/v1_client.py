"""v1 clients with query parameters, events made by ``neverstale.notify``, and their rows."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlencode

from tests.support.processes import WS_PATH, Client, Part, token
from tests.support.world import World


@asynccontextmanager
async def v1(
    world: World, gateway: Part, project_id: str | None = None, **query: Any
) -> AsyncIterator[Client]:
    """Yield a v1 client with these query parameters that has not read its greeting yet."""
    if project_id is not None:
        query["project_id"] = project_id
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}?{urlencode(query, doseq=True)}",
        protocols=("neverstale.v1", f"bearer.{token(world.ada)}"),
    ) as websocket:
        yield Client(websocket)


async def notify(world: World, *names: str, project_id: str | None = None) -> None:
    """Log an event of a task for each name, by ``neverstale.notify``."""
    for name in names:
        await world.database.execute(
            "select neverstale.notify('task', 'UPDATE', $1, $2)",
            project_id or world.apollo,
            name,
        )


class Receiver(Protocol):
    """A client of whatever connection."""

    async def until(
        self, is_last: Callable[[dict[str, Any]], bool]
    ) -> list[dict[str, Any]]: ...


async def rows(client: Receiver, last: str) -> list[str]:
    """Receive events up to row *last* and return their ids. Any other frame fails."""
    frames = await client.until(lambda frame: frame.get("data", {}).get("id") == last)
    assert {frame["type"] for frame in frames} == {"cache_invalidate"}, frames
    return [frame["data"]["id"] for frame in frames]
