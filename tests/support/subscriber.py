"""A Redis subscriber of our channels that receives messages in order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from tests.support.processes import HANG_SECONDS
from tests.support.world import World

_MARK: Final = "mark"


@dataclass(frozen=True)
class Heard:
    """A message with its channel, without the prefix."""

    channel: str
    frame: dict[str, Any]

    @property
    def short(self) -> tuple[str, ...]:
        """The channel with the event's row, the reconnect's reason or the recheck's pair."""
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
        """Log a mark, and return all messages published before it.

        Each mark has its own channel. A batch is published channel by channel, so a repeated
        earlier mark on the same channel would carry the new one ahead of other messages.
        """
        project_id = str(uuid4())
        await self._world.database.execute(
            "select neverstale.notify($2, 'UPDATE', $1, '1')", project_id, _MARK
        )
        told = []
        while (heard := await self.next()).channel != f"project:{project_id}":
            if heard.frame.get("data", {}).get("resource") != _MARK:
                told.append(heard)
        return told


@asynccontextmanager
async def subscribed(world: World) -> AsyncIterator[Subscriber]:
    """Yield a subscriber of all channels except the tick's, once a leader publishes."""
    async with world.redis() as redis, redis.pubsub() as pubsub:
        for pattern in ("project:*", "user:*", "neverstale:recheck"):
            await pubsub.psubscribe(world.prefix + pattern)
            await pubsub.get_message(timeout=HANG_SECONDS)  # the acknowledgement
        async with asyncio.timeout(HANG_SECONDS):
            while not await redis.hexists(f"{world.prefix}neverstale:state", "generation"):
                await asyncio.sleep(0.01)

        async def messages() -> AsyncIterator[dict[str, Any]]:
            while True:
                message = await pubsub.get_message(timeout=HANG_SECONDS)
                if message is not None:
                    yield message

        yield Subscriber(world, messages())
