"""A model browser: its page, its socket, and how it reconnects."""

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.chaos.cache import Cache
from tests.chaos.following import PlainFollower, V1Follower, safe_text
from tests.chaos.kinds import GATEWAYS
from tests.chaos.plan import BrowserPlan
from tests.chaos.stack import ProxiedStack
from tests.support.processes import token

CONNECT_SECONDS: Final = 8.0
PING_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.3
LONGEST_PAUSE_SECONDS: Final = 1.5
_CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=1.0)


@dataclass(frozen=True)
class ReceivedFrame:
    """A frame and when it was received."""

    at: float
    frame: dict[str, Any]


class _Reloaded(Exception):
    """Raised when the page is reloaded: all it held is discarded."""


class Browser:
    """Shows a user what the app's API returns, and refetches what gateway frames invalidate."""

    def __init__(
        self, plan: BrowserPlan, user: str, home: str, stack: ProxiedStack, seed: int
    ) -> None:
        self.plan = plan
        self.user = user
        self.home = home
        self.received: list[ReceivedFrame] = []
        self.is_greeted = False
        self._stack = stack
        self._now = stack.timeline.now
        self._random = random.Random(f"{seed} {plan.name}")
        self._gateway = plan.gateway
        self._reading = asyncio.Event()
        self._reading.set()
        self._may_connect = asyncio.Event()
        self._may_connect.set()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reloading = asyncio.Event()
        self.cache, self.follower = self._open_page()
        self._token = token(user)

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def subscribed(self) -> set[str]:
        """The projects that it follows, as far as it knows; of a v1 client."""
        return self.follower.subscribed if isinstance(self.follower, V1Follower) else set()

    def _open_page(self) -> tuple[Cache, PlainFollower | V1Follower]:
        """Return an empty page."""
        cache = Cache(self._stack.database_url, self.user, self._now)
        if self.plan.is_v1:
            return cache, V1Follower(cache, self.plan.style, uses_age=self.plan.uses_age)
        return cache, PlainFollower(cache, self.home, self.plan.style)

    async def run(self) -> None:
        """Show one page after another. Never returns."""
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._end_page())
                    tasks.create_task(self.cache.run())
                    await self._show()
            except* _Reloaded:
                self.is_greeted, self._socket = False, None
                self.cache, self.follower = self._open_page()

    async def _show(self) -> None:
        """Load the page, then stay connected. Never returns."""
        await self._load_first()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask_for_more())
            while True:
                await self._may_connect.wait()
                await self._connect()
                await asyncio.sleep(self._random.uniform(0.0, LONGEST_PAUSE_SECONDS))

    async def _end_page(self) -> None:
        await self._reloading.wait()
        self._reloading.clear()
        raise _Reloaded

    async def reload(self, seconds: float) -> None:
        """Reload the page, as if the user had pressed F5."""
        self._note("is reloaded")
        self._reloading.set()
        await asyncio.sleep(seconds)

    async def _load_first(self) -> None:
        self.cache.mark("list")
        await self.cache.list_loaded.wait()
        for project in self.cache.list or () if self.plan.is_v1 else (self.home,):
            self.cache.mark("project", project)
        while not self.cache.is_fresh:
            await asyncio.sleep(0.02)

    def slow_down(self) -> None:
        """Stop reading from the socket."""
        self._reading.clear()

    def speed_up(self) -> None:
        self._reading.set()

    async def leave(self, seconds: float) -> None:
        """Go offline for *seconds*, then connect to another gateway."""
        self._may_connect.clear()
        if self._socket is not None:
            await self._socket.close()
        await asyncio.sleep(seconds)
        self._gateway += 1
        self._may_connect.set()

    async def _ask_for_more(self) -> None:
        """Subscribe to new projects each time the list was loaded. Never returns."""
        while True:
            await self.cache.list_loaded.wait()
            self.cache.list_loaded.clear()
            if isinstance(self.follower, V1Follower) and self.is_greeted:
                await self._say(self.follower.wants(self._now()))
            await asyncio.sleep(POLL_SECONDS)

    async def _connect(self) -> None:
        is_refused = isinstance(self.follower, PlainFollower) and self.follower.is_refused
        if is_refused and self.home not in (self.cache.list or ()):
            self.cache.mark("list")  # as its user would: check whether the project is back
            return
        gateway = GATEWAYS[self._gateway % len(GATEWAYS)]
        port = self._stack.links[f"clients->{gateway}"].port
        query = self.follower.query(self._now())
        self._note(f"connects to {gateway} {[k for k, _ in query]}")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._socket = await self._stack.http.ws_connect(
                    f"http://127.0.0.1:{port}/api/v1/messages/ws",
                    params=query,
                    headers=None
                    if self.plan.is_v1
                    else {"Authorization": f"Bearer {self._token}"},
                    protocols=("neverstale.v1", f"bearer.{self._token}")
                    if self.plan.is_v1
                    else (),
                    max_msg_size=0,
                    timeout=_CLOSING,
                )
        except aiohttp.WSServerHandshakeError as exc:
            self._ended(4403 if exc.status == 403 else None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._ended(None)
        else:
            async with self._socket:
                code = await self._listen(self._socket)
            self._ended(code)

    def _ended(self, code: int | None) -> None:
        self.is_greeted = False
        self._socket = None
        self._note(f"disconnected {code}")
        self._gateway += self._random.random() < 0.5
        self.follower.closed(code)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> int | None:
        """Handle frames until the socket closes. Return the close code, or None."""
        silent_seconds = CONNECT_SECONDS + PING_SECONDS
        was_pinged = False
        while True:
            await self._reading.wait()
            try:
                message = await socket.receive(timeout=silent_seconds)
            except TimeoutError:
                if was_pinged or not self.is_greeted:
                    return None
                if not self.plan.is_v1:
                    continue
                was_pinged, silent_seconds = True, PING_SECONDS
                await self._say([{"type": "ping"}])
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                return socket.close_code
            frame = json.loads(message.data)
            was_pinged, silent_seconds = False, float(frame.get("heartbeat", 30))
            await self._receive(frame, message.data)

    async def _receive(self, frame: dict[str, Any], text: str) -> None:
        self._note(safe_text(text))
        self.received.append(ReceivedFrame(self._now(), frame))
        answers = self.follower.receive(frame, self._now())
        self.is_greeted = self.is_greeted or frame["type"] in ("connected", "reconnect")
        await self._say(answers)

    async def _say(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if self._socket is not None and not self._socket.closed:
                self._note(f"says {message['type']} {message.get('project_id', '')}")
                try:
                    await self._socket.send_json(message)
                except (ConnectionError, aiohttp.ClientError):
                    return

    def _note(self, what: str) -> None:
        self._stack.timeline.note(self.plan.name, what)
