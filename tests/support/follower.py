"""A client that is followed while a cluster fails: what it got, and that it is not stale."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.placed import Placed, Placement
from tests.support.processes import HANG_SECONDS, Client, Part, connected, eventually
from tests.support.world import World


class Follower:
    """Reads all frames of one client in the background."""

    def __init__(self, client: Client, placed: Placed, placement: Placement) -> None:
        self.placed = placed
        self._client = client
        self._placement = placement
        self._frames: list[dict[str, Any]] = []
        self._changes: dict[str, int] = {}  # ids, with the number of frames before each

    async def run(self) -> None:
        async for message in self._client.socket:
            assert message.type is aiohttp.WSMsgType.TEXT
            self._frames.append(json.loads(message.data))

    @property
    def resets(self) -> int:
        return sum(frame["type"] == "reconnect" for frame in self._frames)

    @property
    def status(self) -> bool | None:
        """What the last ``status`` said; None without any."""
        told = [frame["live"] for frame in self._frames if frame["type"] == "status"]
        return told[-1] if told else None

    async def change(self, count: int = 1) -> None:
        """Insert tasks of its project, one after another."""
        for _ in range(count):
            before = len(self._frames)
            for id_ in await self._placement.change(self.placed):
                self._changes[id_] = before

    def missing(self) -> set[str]:
        """The changes of which it has neither an event nor a later reset."""
        told = {frame["data"].get("id") for frame in self._frames if "data" in frame}
        last_reset = max(
            (n for n, frame in enumerate(self._frames) if frame["type"] == "reconnect"),
            default=-1,
        )
        return {
            id_
            for id_, before in self._changes.items()
            if id_ not in told and before > last_reset
        }

    async def consistent(self) -> None:
        """Wait until it is not stale."""
        await eventually(lambda: not self.missing(), "the client is stale")

    async def flows(self) -> None:
        """Wait until a change reaches it as an event, whatever comes before."""
        async with asyncio.timeout(HANG_SECONDS):
            while True:
                [id_] = await self._placement.change(self.placed)
                for _ in range(20):
                    if any(frame.get("data", {}).get("id") == id_ for frame in self._frames):
                        return
                    await asyncio.sleep(0.05)


@asynccontextmanager
async def following(
    world: World, gateway: Part, placement: Placement, placed: Placed, *, v1: bool = True
) -> AsyncIterator[Follower]:
    """Yield a follower of a client that has read its greeting."""
    async with connected(world.http, gateway, placed.project, placed.user, v1=v1) as client:
        await client.next()
        follower = Follower(client, placed, placement)
        reading = asyncio.create_task(follower.run())
        try:
            yield follower
            assert not reading.done(), "the client was disconnected"
        finally:
            reading.cancel()
