"""Sends one event from the database to the sockets, and takes the time of each stage."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

import aiohttp
import asyncpg
from redis.exceptions import RedisError

from listener.links.pg_link import Connection
from operations.check.gateway_facts import ANSWER_SECONDS, open_socket
from operations.check.probe_findings import MAX_SECONDS, ProbeFacts
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import RedisLost, connect
from shared.protocol.channels import Channel

RESOURCE: Final = "neverstale_check"
_NOTIFY: Final = "select neverstale.notify($1, 'UPDATE', $2, $3)"


class Probe:
    """One event of a project, on its way."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._id = secrets.token_hex(8)
        self._greeted: dict[str, float | None] = {}
        self._received: dict[str, float | None] = {}
        self._published: float | None = None
        self._started = 0.0
        self._time = asyncio.get_running_loop().time

    async def run(
        self,
        http: aiohttp.ClientSession,
        connection: Connection,
        gateways: Sequence[str],
        *,
        token: str,
        redis: RedisAccess | None,
    ) -> ProbeFacts:
        """Send the event, and return when it arrived where."""
        error, committed = "", None
        async with AsyncExitStack() as stack:
            sockets = {
                url: socket
                for url in gateways
                if (socket := await self._greet(stack, http, url, token)) is not None
            }
            watching = await self._watch(stack, redis) if redis else None
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self._started = self._time()
            waiting = [tasks.create_task(self._receive(*one)) for one in sockets.items()]
            if watching is not None:
                waiting.append(tasks.create_task(self._see(watching)))
            try:
                await connection.execute(_NOTIFY, RESOURCE, self._project, self._id)
                committed = self._time() - self._started
            except asyncpg.PostgresError as exc:
                error = str(exc)
                for task in waiting:
                    task.cancel()
        return ProbeFacts(
            self._greeted,
            error,
            committed,
            watching is not None,
            self._published,
            self._received,
        )

    async def _greet(
        self, stack: AsyncExitStack, http: aiohttp.ClientSession, url: str, token: str
    ) -> aiohttp.ClientWebSocketResponse | None:
        """Return a socket that was greeted, if there is one in time."""
        started = self._time()
        self._greeted[url] = None
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                socket: aiohttp.ClientWebSocketResponse = await stack.enter_async_context(
                    open_socket(http, url, token, self._project)
                )
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    if message.json().get("type") == "connected":
                        self._greeted[url] = self._time() - started
                        self._received[url] = None
                        return socket
        return None

    async def _receive(self, url: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_SECONDS):
                while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    if self._id in message.data:
                        self._received[url] = self._time() - self._started
                        return

    async def _watch(self, stack: AsyncExitStack, redis: RedisAccess) -> Any:
        """Subscribe to the project's channel in Redis."""
        name = redis.names.channel(Channel("project", self._project))
        locate = redis.nodes.locate(name) if redis.nodes else redis.locate
        client = connect(redis.target, locate)
        stack.push_async_callback(client.aclose)
        pubsub = client.pubsub()
        stack.push_async_callback(pubsub.aclose)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await (pubsub.ssubscribe(name) if redis.nodes else pubsub.subscribe(name))
                await pubsub.get_message(timeout=None)
        except (RedisError, RedisLost, TimeoutError):
            return None  # it is a separate finding
        return pubsub

    async def _see(self, pubsub: Any) -> None:
        with suppress(TimeoutError, RedisError):
            async with asyncio.timeout(MAX_SECONDS):
                while True:
                    message = await pubsub.get_message(timeout=None)
                    if message and self._id.encode() in (message["data"] or b""):
                        self._published = self._time() - self._started
                        return
