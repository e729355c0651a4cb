"""A client of one gateway, as a race's user has it."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.chaos.browser import ReceivedFrame
from tests.chaos.following import safe_text
from tests.chaos.stack import ProxiedStack
from tests.support.processes import token

ANSWER_SECONDS: Final = 8.0


@dataclass
class RaceClient:
    """A client of one gateway. Unless it is plain it resumes with its newest cursors."""

    name: str
    user: str
    project: str
    stack: ProxiedStack
    gateway: str
    is_plain: bool
    received: list[ReceivedFrame] = field(default_factory=list)
    is_subscribed: bool = False
    ended: int = 0  # subscriptions, by the gateway
    _cursors: dict[str, str] = field(default_factory=dict)
    _socket: aiohttp.ClientWebSocketResponse | None = None
    _ponged: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def channel(self) -> str:
        return f"project:{self.project}"

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def has_received(self, probe: str) -> bool:
        """Whether it has received the event of this last change of its project."""
        told = (received.frame for received in reversed(self.received))
        return any(
            frame["type"] == "cache_invalidate"
            and (frame["project_id"], frame["resource"], frame["data"]["id"])
            == (self.project, "probe", probe)
            for frame in told
        )

    async def connect(self, *, in_band: bool) -> None:
        """Subscribe, on the open socket if there is one, else on a new one; then listen."""
        if self._socket is not None:
            await self._subscribe()
            return
        query = [("since", cursor) for cursor in self._cursors.values()]
        in_band = in_band and not self.is_plain
        if not in_band:
            query.append(("project_id", self.project))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                socket = await self.stack.http.ws_connect(
                    f"http://127.0.0.1:{self.stack.links[f'clients->{self.gateway}'].port}"
                    "/api/v1/messages/ws",
                    params=query,
                    headers={"Authorization": f"Bearer {token(self.user)}"},
                    protocols=() if self.is_plain else ("neverstale.v1",),
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._note("cannot connect")
            return
        if self.is_open:  # another step connected first
            await socket.close()
            return
        self._socket = socket
        if in_band:
            await self._subscribe()
        await self._listen(socket)

    async def _subscribe(self) -> None:
        if self._socket is None or self.is_plain:
            return
        cursor = self._cursors.get(self.channel)
        message = {"type": "subscribe", "project_id": self.project}
        try:
            await self._socket.send_json(message | ({"since": cursor} if cursor else {}))
        except (ConnectionError, aiohttp.ClientError):
            self._note("cannot subscribe")

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.is_subscribed = self.is_plain
        async for message in socket:
            if message.type is aiohttp.WSMsgType.PONG:
                self._ponged.set()
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            self._note(safe_text(message.data))
            self.received.append(ReceivedFrame(self.stack.timeline.now(), frame))
            self._receive(frame)
        self._note(f"closed {socket.close_code}")
        self.ended += socket.close_code == 4403
        if self._socket is socket:
            self._socket, self.is_subscribed = None, False
        self._ponged.set()

    def _receive(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                self._cursors.update(frame["cursors"])
                self.is_subscribed = self.channel in frame["cursors"]
            case "reconnect":
                self._cursors.update(frame.get("cursors", {}))
            case "cache_invalidate" if not self.is_plain:
                self._cursors[frame["channel"]] = frame["cursor"]
            case "subscribed":
                self._cursors[self.channel] = frame["cursor"]
                self.is_subscribed = True
            case "unsubscribed":
                self.ended += 1
                self.is_subscribed = False
            case _:
                pass

    async def drop(self) -> None:
        if self._socket is not None:
            socket, self._socket, self.is_subscribed = self._socket, None, False
            await socket.close()

    async def catch_up(self) -> None:
        """Return when all frames sent to it have been received, or it is closed."""
        if self._socket is not None:
            self._ponged.clear()
            with suppress(ConnectionError, aiohttp.ClientError):
                await self._socket.ping()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ponged.wait()

    def _note(self, what: str) -> None:
        self.stack.timeline.note(self.name, what)
