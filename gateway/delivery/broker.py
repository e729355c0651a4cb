"""Keeps a subscriber connection to Redis, and handles what the leader publishes."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Final

from gateway.access.revalidation import EVERYTHING, Revalidator
from gateway.delivery.effect_runner import Link
from gateway.delivery.fanout import Fanout
from gateway.delivery.pubsub import PubSub
from gateway.metrics import LinkMetrics
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import (
    LOOK_SECONDS,
    TIMEOUT_SECONDS,
    RedisLost,
    has_moved_on,
    read_output_buffer,
    read_state,
    translated_errors,
)
from shared.links.redis_url import RedisUrl
from shared.protocol.control_messages import Tick, parse_disconnect, parse_recheck, parse_tick
from shared.protocol.events import as_reason
from shared.runtime.backoff import Backoff

_FOREIGN: Final = "the listener of another database uses this REDIS_PREFIX: set another one"

log = logging.getLogger(__name__)


class Broker:
    """Owns the connection: detects its loss, reports it, and reconnects with backoff."""

    def __init__(
        self,
        redis: RedisAccess,
        fanout: Fanout,
        revalidator: Revalidator,
        disconnect: Callable[[str], None],
        metrics: LinkMetrics,
    ) -> None:
        self._redis = redis
        self._client = redis.client
        self._names = names = redis.names
        self._fanout = fanout
        self._revalidator = revalidator
        self._disconnect = disconnect
        self._metrics = metrics
        self._tick_name = names.tick.encode()
        self._recheck_name = names.recheck.encode()
        self._all_acknowledged = asyncio.Event()
        self._link: PubSub | None = None
        self._tick_count = 0

    async def run(self) -> None:
        """Connect, and connect again after every loss. Never returns."""
        backoff = Backoff()
        while True:
            try:
                await self._stay_linked(backoff)
            except RedisLost as exc:
                delay = backoff.next_delay()
                self._metrics.lost.inc()
                log.warning(
                    "redis lost", extra={"reason": str(exc), "delay_seconds": round(delay, 3)}
                )
                await asyncio.sleep(delay)

    async def _stay_linked(self, backoff: Backoff) -> None:
        self._all_acknowledged.clear()
        refusals = self._client.refusals
        link = await PubSub.connect(await self._server(), self._receive, self._acknowledge)
        await self._client.drop_connections()  # commands must go to the same server
        try:
            self._redis.check_mode(link.server)
            self._link = link
            link.subscribe([self._names.tick, self._names.recheck])
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._all_acknowledged.wait()
            except TimeoutError as exc:
                raise RedisLost("the server did not acknowledge the subscription") from exc
            await self._revalidator.learn_database()
            state = await self._read_state()
            await self._fanout.link_up(self._link_of_channels(link, state))
            self._revalidator.recheck(EVERYTHING)  # rechecks may have been missed
            self._metrics.linked.set(1)
            log.info("redis linked")
            await self._watch_link(link, backoff, refusals)
        finally:
            self._link = None
            self._metrics.linked.set(0)
            self._fanout.link_lost()
            link.abort()

    def _link_of_channels(self, link: PubSub, _state: Mapping[str, str]) -> Link:
        """Return what subscribes to the channels of projects and users."""
        return link

    async def _server(self) -> RedisUrl:
        """Return where to connect to."""
        redis = self._redis
        return redis.target.at(*await redis.locate()) if redis.locate else redis.target

    async def _read_state(self) -> Mapping[str, str]:
        """Take the generation from the stored state, as there may be no leader that ticks."""
        tick_count = self._tick_count
        async with translated_errors(self._client):
            state = await read_state(self._client, self._names.state)
        if self._revalidator.is_foreign(state.get("database", "")):
            raise RedisLost(_FOREIGN)
        # a tick that has arrived meanwhile is newer than this answer
        if "generation" in state and tick_count == self._tick_count:
            self._fanout.learn_generation(
                state["generation"], as_reason(state.get("reason", ""))
            )
        return state

    async def _watch_link(self, link: PubSub, backoff: Backoff, refusals: int) -> None:
        """Raise ``RedisLost`` once the connection should be replaced: it has ended, the server
        answers no PING, refuses a command, or the address leads to another server.
        """
        loop = asyncio.get_running_loop()
        next_look = loop.time() + LOOK_SECONDS
        while True:
            if await link.check():
                self._metrics.round_trips.observe(link.round_trip_seconds)
            if self._client.refusals != refusals:
                raise RedisLost("the server refused a command")
            backoff.reset()  # only now: the server may refuse the first commands
            if loop.time() >= next_look:
                next_look = loop.time() + LOOK_SECONDS
                if not self._revalidator.knows_database():
                    # The database was unreachable. Until it is known, messages about another
                    # one are taken for messages about it.
                    await self._revalidator.learn_database()
                await self._read_output_buffer(link)
                if await has_moved_on(self._client, link.server):
                    raise RedisLost("the address leads to another server now")

    async def _read_output_buffer(self, link: PubSub) -> None:
        size = None
        if link.client_id is not None:
            size = await read_output_buffer(self._client, link.client_id)
        self._metrics.unsent.set(nan if size is None else size)

    def _receive(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Deliver what one read brought, and handle ticks and rechecks in between, in order."""
        start = 0
        handled: set[bytes] = set()
        for position, (name, payload) in enumerate(messages):
            if name in (self._tick_name, self._recheck_name):
                self.deliver(messages[start:position])
                # A repetition within one read changes nothing: no access check ran meanwhile.
                if payload not in handled:
                    self._handle(name, payload)
                    handled.add(payload)
                if self._link is not None and self._link.lost.done():
                    return  # what follows is about another database
                start = position + 1
        self.deliver(messages[start:])

    def deliver(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Deliver messages of projects' and users' channels, from one read."""
        for recheck in self._fanout.deliver(messages):
            self._revalidator.recheck(recheck)

    def _handle(self, name: bytes, payload: bytes) -> None:
        if name == self._recheck_name:
            recheck = parse_recheck(payload)
            if recheck is not None:
                self._revalidator.recheck(recheck)
            user_id = parse_disconnect(payload)
            if user_id is not None:
                self._disconnect(user_id)
            return
        tick = parse_tick(payload)
        if tick is not None and self._revalidator.is_foreign(tick.database):
            if self._link is not None:
                self._link.fail(_FOREIGN)
        elif tick is not None:
            self._receive_tick(tick)

    def _receive_tick(self, tick: Tick) -> None:
        self._tick_count += 1
        if self._fanout.receive_tick(tick):
            self._revalidator.recheck(EVERYTHING)

    def _acknowledge(self, names: Sequence[bytes]) -> None:
        if self._recheck_name in names:  # subscribed to last
            self._all_acknowledged.set()
        self._fanout.acknowledge(names)
