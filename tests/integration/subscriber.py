"""A Redis consumer of our channels, and all that it hears in order."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.conftest import World
from tests.integration.processes import HANG_SECONDS

_MARK: Final = "3a4b0000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Heard:
    """A message, on a channel without its prefix."""

    channel: str
    frame: dict[str, Any]

    @property
    def short(self) -> tuple[str, ...]:
        """Its channel with what it says; of a reconnect its reason, of a recheck its pair."""
        match self.frame["type"]:
            case "cache_invalidate":
                data = self.frame["data"]
                return (self.channel, data["resource"], data["action"], data["id"])
            case "reconnect":
                return (self.channel, "reconnect", self.frame["data"]["reason"])
            case _:
                return (self.channel, self.frame["project_id"], self.frame["user_id"])


class Subscriber:
    def __init__(self, world: World, messages: AsyncIterator[dict[str, Any]]) -> None:
        self._world = world
        self._messages = messages

    async def next(self) -> Heard:
        async with asyncio.timeout(HANG_SECONDS):
            message = await anext(self._messages)
        channel = message["channel"].decode().removeprefix(self._world.prefix)
        return Heard(channel, json.loads(message["data"]))

    async def until_marked(self) -> list[Heard]:
        """All that is published up to a mark, which is logged now."""
        token = secrets.token_hex(4)
        await self._world.database.execute(
            "select neverstale.notify('mark', 'UPDATE', $1, $2)", _MARK, token
        )
        heard = [await self.next()]
        while heard[-1].short != (f"project:{_MARK}", "mark", "UPDATE", token):
            heard.append(await self.next())
        return heard[:-1]


@asynccontextmanager
async def subscribed(world: World) -> AsyncIterator[Subscriber]:
    """One who hears all channels but the tick's, once a leader tells what is logged."""
    async with world.redis() as redis, redis.pubsub() as pubsub:
        for pattern in ("project:*", "user:*", "neverstale:recheck"):
            await pubsub.psubscribe(world.prefix + pattern)
            await pubsub.get_message(timeout=HANG_SECONDS)  # its acknowledgement
        async with asyncio.timeout(HANG_SECONDS):
            while not await redis.hexists(f"{world.prefix}neverstale:state", "generation"):
                await asyncio.sleep(0.01)

        async def messages() -> AsyncIterator[dict[str, Any]]:
            while True:
                message = await pubsub.get_message(timeout=HANG_SECONDS)
                if message is not None:
                    yield message

        yield Subscriber(world, messages())
