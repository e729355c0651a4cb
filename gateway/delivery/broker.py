"""Keeps the subscriber connection to Redis, and follows the leader's ticks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from gateway.access.revalidation import EVERYTHING, Revalidator
from gateway.delivery.fanout import Fanout
from gateway.delivery.pubsub import PubSub
from shared.links.redis_link import (
    LOOK_SECONDS,
    TIMEOUT_SECONDS,
    Client,
    RedisLost,
    has_moved_on,
    read_state,
    telling_loss,
)
from shared.protocol.channels import RedisNames
from shared.protocol.control_messages import parse_disconnect, parse_recheck, parse_tick
from shared.protocol.events import as_reason
from shared.runtime.backoff import Backoff

PING_SECONDS: Final = 1.0
_FOREIGN: Final = "the listener of another database uses this REDIS_PREFIX: set another one"

log = logging.getLogger(__name__)


class Broker:
    """Owns the link: a loss is noticed here, told to the fan-out, and mended with backoff."""

    def __init__(
        self,
        url: str,
        client: Client,
        names: RedisNames,
        fanout: Fanout,
        guard: Revalidator,
        disconnect: Callable[[str], None],
    ) -> None:
        self._url = url
        self._client = client
        self._names = names
        self._fanout = fanout
        self._guard = guard
        self._disconnect = disconnect
        self._tick = names.tick.encode()
        self._recheck = names.recheck.encode()
        self._all_acknowledged = asyncio.Event()
        self._link: PubSub | None = None
        self._ticks = 0

    async def run(self) -> None:
        """Never returns."""
        backoff = Backoff()
        while True:
            try:
                await self._stay_linked(backoff)
            except RedisLost as exc:
                delay = backoff.next_delay()
                log.warning(
                    "redis lost", extra={"reason": str(exc), "delay_seconds": round(delay, 3)}
                )
                await asyncio.sleep(delay)

    async def _stay_linked(self, backoff: Backoff) -> None:
        self._all_acknowledged.clear()
        refusals = self._client.refusals
        link = await PubSub.connect(self._url, self._receive, self._acknowledged)
        await self._client.drop_connections()  # commands go where the subscriptions go
        try:
            self._link = link
            link.subscribe([self._names.tick, self._names.recheck])
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._all_acknowledged.wait()
            except TimeoutError as exc:
                raise RedisLost("the subscription was not acknowledged") from exc
            await self._guard.learn_database()
            await self._read_state()
            await self._fanout.link_up(link)
            self._guard.recheck(EVERYTHING)  # rechecks were missed
            log.info("redis linked")
            await self._check_heartbeat(link, backoff, refusals)
        finally:
            self._link = None
            self._fanout.link_lost()
            link.abort()

    async def _read_state(self) -> None:
        """Learn the generation from the stored state: there may be no leader to tick."""
        ticks = self._ticks
        async with telling_loss(self._client):
            state = await read_state(self._client, self._names.state)
        if self._guard.is_foreign(state.get("database", "")):
            raise RedisLost(_FOREIGN)
        # a tick meanwhile is newer than this answer
        if "generation" in state and ticks == self._ticks:
            self._fanout.learn_generation(
                state["generation"], as_reason(state.get("reason", ""))
            )

    async def _check_heartbeat(self, link: PubSub, backoff: Backoff, refusals: int) -> None:
        """Raise ``RedisLost`` when the link ends, a frozen server answers no PING, or this is
        no server to stay with: it refuses commands, or the address leads to another one.
        """
        loop = asyncio.get_running_loop()
        unanswered, next_look = 0, loop.time() + LOOK_SECONDS
        while True:
            pongs = link.pongs
            link.ping()
            await asyncio.wait([link.lost], timeout=PING_SECONDS)
            if link.lost.done():
                raise RedisLost(link.lost.result())
            if self._client.refusals != refusals:
                raise RedisLost("the server refused a command")
            unanswered = unanswered + 1 if link.pongs == pongs else 0
            if unanswered * PING_SECONDS >= TIMEOUT_SECONDS:
                raise RedisLost("the heartbeat was not answered")
            backoff.reset()  # not before: what was read first may have been refused
            if loop.time() >= next_look:
                next_look = loop.time() + LOOK_SECONDS
                if not self._guard.knows_database():
                    # it was away at the start: until it is known, another's would pass for it
                    await self._guard.learn_database()
                if await has_moved_on(self._client, link.server):
                    raise RedisLost("the address leads to another server now")

    def _receive(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        start = 0
        followed: set[bytes] = set()
        for position, (name, payload) in enumerate(messages):
            if name in (self._tick, self._recheck):
                self._deliver(messages[start:position])
                # what was doubtful already by this read still is: nothing was asked meanwhile
                if payload not in followed:
                    self._follow(name, payload)
                    followed.add(payload)
                if self._link is not None and self._link.lost.done():
                    return  # what follows is another database's
                start = position + 1
        self._deliver(messages[start:])

    def _deliver(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        for recheck in self._fanout.deliver(messages):
            self._guard.recheck(recheck)

    def _follow(self, name: bytes, payload: bytes) -> None:
        if name == self._recheck:
            recheck = parse_recheck(payload)
            if recheck is not None:
                self._guard.recheck(recheck)
            user_id = parse_disconnect(payload)
            if user_id is not None:
                self._disconnect(user_id)
            return
        tick = parse_tick(payload)
        if tick is not None and self._guard.is_foreign(tick.database):
            if self._link is not None:
                self._link.fail(_FOREIGN)
        elif tick is not None:
            self._ticks += 1
            if self._fanout.receive_tick(tick):
                self._guard.recheck(EVERYTHING)

    def _acknowledged(self, names: Sequence[bytes]) -> None:
        if self._recheck in names:  # the later of the two
            self._all_acknowledged.set()
        self._fanout.acknowledged(names)
