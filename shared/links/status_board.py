"""The status of every process in Redis, where each writes its own once a second.

One key for each process, which expires with it, and an index of these keys.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import orjson

from shared.links.redis_access import RedisAccess
from shared.links.redis_link import Client, RedisLost, translated_errors
from shared.links.redis_nodes import read_nodes
from shared.protocol.channels import RedisNames
from shared.protocol.json_values import parse_object
from shared.protocol.process_status import merge_statuses
from shared.runtime.version import VERSION

REPORT_SECONDS: Final = 1.0
TTL_SECONDS: Final = 5
MAX_PROCESSES: Final = 200
_AGING: Final = 1.1  # of the shortest round trip, each second
_INDEX_SECONDS: Final = 3600
_FIELD: Final = "status"

log = logging.getLogger(__name__)


class RedisClock:
    """Redis's time of day, by this process's clock.

    It is wrong by half a round trip at most, so a measurement counts until one has a shorter
    round trip, or it is old: clocks drift.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._round_trip = float("inf")
        self.seconds = 0  # the last answer

    def set(self, seconds: float, *, asked: float, answered: float) -> None:
        """Take the answer to TIME, with when the loop's clock said it was asked and came."""
        self._round_trip *= _AGING
        if answered - asked <= self._round_trip:
            self._round_trip = answered - asked
            self._ahead = seconds - (asked + answered) / 2
        self.seconds = int(seconds)

    def at(self, loop_time: float) -> float:
        """Return Redis's time, in Unix seconds, when the loop's clock said *loop_time*."""
        return loop_time + self._ahead


class StatusReporter:
    """Writes the status of this process.

    It closes its client at the end, which must be a separate one: a server that refuses its
    commands disturbs nothing else.
    """

    def __init__(
        self,
        client: Client,
        names: RedisNames,
        kind: str,
        describe: Callable[[RedisClock], Mapping[str, Any]],
    ) -> None:
        self._client = client
        self._names = names
        self._kind = kind
        self._name = process_name()
        # in containers, all processes of a host may have its name and the pid 1
        self._key = names.status(f"{kind}:{self._name}:{secrets.token_hex(4)}")
        self._describe = describe
        self._clock = RedisClock()
        self._started = asyncio.get_running_loop().time()
        self._fault = ""

    async def run(self) -> None:
        """Report once a second. Never returns."""
        try:
            while True:
                try:
                    await self._read_clock()
                    await self._write()
                    self._fault = ""
                except RedisLost as exc:
                    if str(exc) != self._fault:
                        log.warning("the status is not reported", extra={"reason": str(exc)})
                    self._fault = str(exc)
                await asyncio.sleep(REPORT_SECONDS)
        finally:
            await self._client.aclose()

    async def _read_clock(self) -> None:
        time = asyncio.get_running_loop().time
        async with translated_errors(self._client):
            asked = time()
            seconds, microseconds = await self._client.time()
            self._clock.set(seconds + microseconds / 1e6, asked=asked, answered=time())

    async def _write(self) -> None:
        index = self._names.statuses
        status = {
            "kind": self._kind,
            "name": self._name,
            "version": VERSION,
            "uptime_seconds": round(asyncio.get_running_loop().time() - self._started),
            **self._describe(self._clock),
        }
        async with (
            translated_errors(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            pipeline.hset(self._key, _FIELD, orjson.dumps(status).decode())  # type: ignore[unused-awaitable]
            pipeline.expire(self._key, TTL_SECONDS)  # type: ignore[unused-awaitable]
            pipeline.zadd(index, {self._key: self._clock.seconds})  # type: ignore[unused-awaitable]
            pipeline.zremrangebyrank(index, 0, -MAX_PROCESSES - 1)  # type: ignore[unused-awaitable]
            pipeline.expire(index, _INDEX_SECONDS)  # type: ignore[unused-awaitable]
            await pipeline.execute()


def process_name() -> str:
    """Return a name of this process for logs: its host and pid."""
    return f"{socket.gethostname()}:{os.getpid()}"


async def read_status(redis: RedisAccess) -> dict[str, Any]:
    """Return one status of all processes and Redis servers. Raises ``RedisLost``."""
    statuses = await read_statuses(redis.client, redis.names)
    return merge_statuses(statuses, await read_nodes(redis))


async def read_statuses(client: Client, names: RedisNames) -> list[Mapping[str, Any]]:
    """Return what each running process reports. Raises ``RedisLost``."""
    async with translated_errors(client):
        keys = cast(list[bytes], await client.zrange(names.statuses, 0, -1))
        async with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, _FIELD)  # type: ignore[unused-awaitable]
            found = await pipeline.execute() if keys else []
    return [status for text in found if text and (status := parse_object(text)) is not None]
