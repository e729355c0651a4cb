"""Clients that read server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from tests.support.event_streams import EventParser
from tests.support.processes import HANG_SECONDS, Part, token
from tests.support.world import World

SSE_PATH: Final = "/api/v1/messages/sse"


class StreamClient:
    """A client that records the frames it receives, in order; ``last_id`` is up to date with
    the frames that ``next`` has returned.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.raw: list[str] = []
        self.last_id = ""
        self.parser = EventParser()
        self._events = self._read()

    async def _read(self) -> AsyncIterator[dict[str, Any]]:
        async for data in self.response.content.iter_any():
            for event in self.parser.feed(data):
                self.raw.append(event.data)
                self.last_id = event.last_id
                yield json.loads(event.data)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(HANG_SECONDS):
            return await anext(self._events)

    async def until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        frames = [await self.next()]
        while not is_last(frames[-1]):
            frames.append(await self.next())
        return frames

    async def closed(self) -> int | None:
        """Read all remaining frames, until the response ends, and return the close code."""
        async with asyncio.timeout(HANG_SECONDS):
            frames = [frame async for frame in self._events]
        last = frames[-1] if frames else {}
        return last["code"] if last.get("type") == "close" else None


@asynccontextmanager
async def streaming(
    world: World,
    gateway: Part,
    *project_ids: str,
    bearer: str | None = None,
    last_id: str = "",
    headers: Mapping[str, str] | None = None,
    **query: Any,
) -> AsyncIterator[StreamClient]:
    """Yield a client of Ada, unless there is another *bearer*, whose greeting is not read."""
    pairs = urlencode({"project_id": project_ids, **query}, doseq=True)
    given = {"Authorization": f"Bearer {bearer or token(world.ada)}", **(headers or {})}
    given |= {"Last-Event-ID": last_id} if last_id else {}
    async with world.http.get(f"{gateway.url}{SSE_PATH}?{pairs}", headers=given) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield StreamClient(response)


async def refused_stream(
    world: World, gateway: Part, query: str, headers: Mapping[str, str]
) -> tuple[int, str]:
    """The status of a refusal, and its code."""
    url = f"{gateway.url}{SSE_PATH}{query}"
    async with world.http.get(url, headers=headers) as response:
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert error["message"]
        return response.status, error["code"]
