"""A v1 client that reconnects and resumes, for measuring recovery."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from tests.support.processes import WS_PATH, Part, token

BACKOFF_CAP_SECONDS: Final = 1.0


class ResumingClient:
    """One browser tab: keeps reconnecting with its cursors, each time to a random gateway."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        gateways: Sequence[Part],
        project_id: str,
        user_id: str,
    ) -> None:
        self._http = http
        self._gateways = gateways
        self._project_id = project_id
        self._bearer = token(user_id)
        self.cursors: dict[str, str] = {}
        self.received: Counter[str] = Counter()
        self.resets = 0
        self.came_unresumed = False
        self.live = asyncio.Event()
        self.changed = asyncio.Condition()

    async def run(self) -> None:
        """Stay connected. Never returns."""
        tries = 0
        while True:
            try:
                await self.visit()
                tries = 0
            except (aiohttp.ClientError, OSError):
                tries += 1
            self.live.clear()
            cap = min(BACKOFF_CAP_SECONDS, 0.05 * 2**tries)
            await asyncio.sleep(random.uniform(0, cap))

    async def visit(self, *, age_ms: int | None = None) -> None:
        """Connect once, until the connection ends."""
        query: list[tuple[str, str]] = [("project_id", self._project_id)]
        query += [("since", cursor) for cursor in self.cursors.values()]
        query += [("age", str(age_ms))] if age_ms is not None else []
        gateway = random.choice(self._gateways)
        async with self._http.ws_connect(
            f"{gateway.url}{WS_PATH}?{urlencode(query)}",
            protocols=("neverstale.v1", f"bearer.{self._bearer}"),
        ) as socket:
            async for message in socket:
                self.receive(json.loads(message.data))
                async with self.changed:
                    self.changed.notify_all()

    def receive(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                lost = set(frame["cursors"]) - set(frame["resumed"])
                self.came_unresumed = bool(lost)
                self.resets += bool(self.cursors and lost)
                self.cursors |= frame["cursors"]
                self.live.set()
            case "reconnect":
                self.resets += 1
                self.cursors |= frame.get("cursors", {})
                self.received["*"] += 1
            case "cache_invalidate":
                self.cursors[frame["channel"]] = frame["cursor"]
                self.received[frame["data"]["id"]] += 1
            case _:
                pass

    async def until_received(self, row: str, times: int = 1) -> None:
        """Wait until events of the row and resets number at least *times*."""
        async with self.changed:
            await self.changed.wait_for(
                lambda: self.received[row] + self.received["*"] >= times
            )
