"""A service that keeps the cache of a model browser by ``neverstale.client``."""

import asyncio
import logging
from typing import Any, Final

from neverstale.client import Client, Cursors, Event, Message, Reset, Status
from tests.chaos.browser import POLL_SECONDS, Browser, ReceivedFrame
from tests.chaos.cache import LIST
from tests.chaos.following import mark_row
from tests.chaos.kinds import GATEWAYS
from tests.support.background import background
from tests.support.processes import WS_PATH, token
from tests.support.tcp_proxy import Proxy

# Its warnings are in the timeline, as errors of a status.
logging.getLogger("neverstale.client").addHandler(logging.NullHandler())

MAX_MESSAGES: Final = 100  # few, so that one that does not read gets a reset


class Consumer(Browser):
    """Follows all projects of its user. It reconnects to one gateway and then to the other.

    Where a browser goes offline, it is restarted with its cache and its cursors; where a page
    is reloaded, it is restarted without.
    """

    @property
    def subscribed(self) -> set[str]:
        return set(self._followed)

    async def _show(self) -> None:
        self._cursors: Cursors = {}
        self._followed: frozenset[str] = frozenset()
        self._client: Client | None = None
        self._leaving = asyncio.Event()
        await self._load_first()
        links = [self._stack.links[f"clients->{gateway}"] for gateway in GATEWAYS]
        self._gateways = Proxy(*(link.port for link in links))
        await self._gateways.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_for_more())
                while True:
                    await self._may_connect.wait()
                    self._leaving = asyncio.Event()
                    async with background() as following:
                        following.create_task(self._follow())
                        await self._leaving.wait()
        finally:
            await self._gateways.close()

    async def leave(self, seconds: float) -> None:
        """End the client for *seconds*. The cache and its cursors are kept."""
        self._may_connect.clear()
        self._leaving.set()
        await asyncio.sleep(seconds)
        self._may_connect.set()

    async def _follow(self) -> None:
        """Keep the cache fresh. Never returns."""
        self._note(f"starts with {len(self._cursors)} cursors")
        try:
            async with Client(
                f"ws://127.0.0.1:{self._gateways.port}{WS_PATH}",
                token=self._make_token,
                projects=self.cache.list or (),
                cursors=self._cursors,
                max_messages=MAX_MESSAGES,
                max_backoff_seconds=2.0,
            ) as self._client:
                async for message in self._client:
                    await self._reading.wait()
                    self._note(repr(message))
                    self._process(message)
                    self._cursors = message.cursors
        finally:
            self._client = None
            self.is_greeted, self._followed = False, frozenset()

    def _make_token(self, refresh: bool) -> str:
        self._gateways.target_ports.reverse()  # called before each connection
        return token(self.user)

    def _process(self, message: Message) -> None:
        match message:
            case Event():
                frame: dict[str, Any] = {
                    "type": "cache_invalidate",
                    "resource": message.resource,
                    "project_id": message.project_id,
                    "data": {"id": message.id},
                }
                self.received.append(ReceivedFrame(self._now(), frame))
                mark_row(self.cache, self.plan.style, frame)
                if message.access:
                    self.cache.mark(*LIST)
            case Reset(project_id=project_id):
                self.received.append(ReceivedFrame(self._now(), {"type": "reconnect"}))
                self.cache.mark(*LIST)
                if project_id is None:
                    self.cache.reset_all()
                else:
                    self.cache.reset(project_id)
            case Status():
                self.is_greeted, self._followed = message.live, message.projects

    async def _ask_for_more(self) -> None:
        """Follow what the list has, each time it was loaded. Never returns."""
        wanted = set(self.cache.list or ())
        while True:
            await self.cache.list_loaded.wait()
            self.cache.list_loaded.clear()
            listed = set(self.cache.list or ())
            if self._client is not None:
                for project in listed:
                    if project not in self.cache.rows:
                        self.cache.mark("project", project)
                    self._client.subscribe(project)
                for project in wanted - listed:
                    self._client.unsubscribe(project)
                wanted = listed
            await asyncio.sleep(POLL_SECONDS)
