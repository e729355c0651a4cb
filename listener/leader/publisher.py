"""The leader's side of Redis: the stored state, the channel logs and their channels."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from redis.exceptions import ResponseError

from listener.leader.leader_state import LeaderState
from listener.leader.publication import Publication, PublicationRules
from shared.links.redis_link import (
    Client,
    Pipeline,
    Script,
    has_moved_on,
    read_server,
    read_state,
    telling_loss,
)
from shared.links.redis_server import RedisServer
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, Tick, recheck_message, tick_around_time
from shared.protocol.events import Publishable, publishable_reconnect

_LUA: Final = Path(__file__).parent / "lua"
_PUBLISH_LUA: Final = (_LUA / "publish.lua").read_text()
_SAVE_LUA: Final = (_LUA / "save.lua").read_text()
_EVENTS_PER_PIPELINE: Final = 2000  # each piece has a deadline of its own
# errors without a class in redis-py that concern whatever is sent, not one key
_OF_THE_SERVER: Final = ("MISCONF", "BUSY", "UNKILLABLE", "NOREPLICAS", "ACL failure in script")
_Step: TypeAlias = Recheck | tuple[Channel, list[Publishable]]


class PublishRefused(Exception):
    """Redis refuses something that no reset of a single channel covers."""


class Publisher:
    """Writes channel logs and state.

    Every method raises ``RedisLost``; then adopt anew, nothing is in memory.
    """

    def __init__(
        self,
        client: Client,
        names: RedisNames,
        rules: PublicationRules,
        *,
        leader: str,
        ttl_seconds: int,
    ) -> None:
        self._client = client
        self._names = names
        self._leader = leader
        self._rules = rules
        self._ttl_seconds = ttl_seconds
        self._publish = self._save = Script("")

    async def adopt(self) -> tuple[dict[str, str], RedisServer]:
        """The stored state (empty: none), and the server that stores it.

        On new connections, whatever made this process start over.
        """
        await self._client.drop_connections()
        async with telling_loss(self._client):
            self._publish = await Script.load(self._client, _PUBLISH_LUA)
            self._save = await Script.load(self._client, _SAVE_LUA)
            server = await read_server(self._client)
            return await self._read_state(), server

    async def _read_state(self) -> dict[str, str]:
        try:
            return await read_state(self._client, self._names.state)
        except ResponseError as exc:
            if not str(exc).startswith("WRONGTYPE"):
                raise
            await self._client.delete(self._names.state)  # it is somebody else's value
            return {}

    async def server(self) -> RedisServer:
        """The server that answers now."""
        async with telling_loss(self._client):
            return await read_server(self._client)

    async def has_moved_on(self, own: RedisServer) -> bool:
        """Whether the address leads to another primary than *own* by now."""
        return await has_moved_on(self._client, own)

    async def publish(self, publication: Publication, generation: str) -> dict[Channel, str]:
        """Publish in its order, each channel's events logged in the same call, many calls in
        one round trip.

        Returns when all are acknowledged: the channels whose events Redis refused, each with
        the reason. Their logs were removed (what is stored there is not ours), and their
        clients reset. Raises ``PublishRefused`` if that was refused too.
        """
        refused: dict[Channel, str] = {}
        steps: list[_Step] = [
            *publication.users.items(),
            *publication.rechecks,
            *publication.projects.items(),
        ]
        for piece in _pieces(steps):
            # one connection, so Redis runs them in this order
            async with self._pipeline() as pipeline:
                for step in piece:
                    if isinstance(step, Recheck):
                        message = recheck_message(step)
                        pipeline.publish(self._names.recheck, message)  # type: ignore[unused-awaitable]
                    else:
                        self._queue(pipeline, *step, generation)
                reasons = await _execute(pipeline)
            for step, reason in zip(piece, reasons, strict=True):
                if reason is not None and isinstance(step, Recheck):
                    raise PublishRefused(reason)
                if reason is not None and not isinstance(step, Recheck):
                    refused[step[0]] = reason
        for channel in refused:
            await self._reset_channel(channel, generation)
        return refused

    async def _reset_channel(self, channel: Channel, generation: str) -> None:
        async with self._pipeline() as pipeline:
            pipeline.delete(self._names.log(channel))  # type: ignore[unused-awaitable]
            reset = publishable_reconnect("bulk_change", channel)
            self._queue(pipeline, channel, [reset], generation)
            reasons = await _execute(pipeline)
        for reason in filter(None, reasons):
            raise PublishRefused(reason)

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[Pipeline]:
        async with (
            telling_loss(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            yield pipeline

    def _queue(
        self,
        pipeline: Pipeline,
        channel: Channel,
        events: Sequence[Publishable],
        generation: str,
    ) -> None:
        self._publish.queue(
            pipeline,
            self._names.log(channel),
            self._names.channel(channel),
            generation,
            secrets.token_hex(4),
            self._rules.max_rows_of(channel.kind),
            self._ttl_seconds,
            *(part for e in events for part in (e.member, e.head, e.tail)),
        )

    async def save(self, place: LeaderState, *, tick_lag_ms: int | None) -> str | None:
        """Save the cursor, and tick unless *tick_lag_ms* is None.

        Returns the generation that is stored: nothing was saved unless it is the place's.
        """
        return await self._write(place, place.generation, _saved(place), tick_lag_ms)

    async def reset(self, place: LeaderState) -> None:
        """Make *place* the state whatever was stored, and tick.

        Each gateway that sees its generation resets.
        """
        fields = {
            **_saved(place),
            "generation": place.generation,
            "redis": place.redis,
            "reason": place.reason,
            "capture": place.capture,
        }
        await self._write(place, "", fields, 0)

    async def _write(
        self,
        place: LeaderState,
        stored: str,
        fields: Mapping[str, str],
        tick_lag_ms: int | None,
    ) -> str | None:
        before, after = b"", b""
        if tick_lag_ms is not None:
            database = place.cursor.database
            tick = Tick(place.generation, place.reason, live=place.live, database=database)
            before, after = tick_around_time(tick, leader=self._leader, lag_ms=tick_lag_ms)
        pairs = [part for pair in fields.items() for part in pair]
        async with telling_loss(self._client):
            found: bytes | None = await self._save.run(
                self._client, self._names.state, stored, self._names.tick, before, after, *pairs
            )
        return None if found is None else found.decode(errors="replace")


async def _execute(pipeline: Pipeline) -> list[str | None]:
    """Why Redis refused each command, if it would take others. Raises what redis-py does."""
    return [_refusal(answer) for answer in await pipeline.execute(raise_on_error=False)]


def _refusal(answer: Any) -> str | None:
    """Why Redis refused this one command, if it would take others.

    Raises the answer where it would not: redis-py has classes of their own for that.
    """
    if not isinstance(answer, Exception):
        return None
    reason = str(answer)
    if type(answer) is not ResponseError or reason.startswith(_OF_THE_SERVER):
        raise answer
    return reason[:200]


def _saved(place: LeaderState) -> dict[str, str]:
    """The fields of the state that each saving of a place writes."""
    return {
        "cursor": place.cursor.to_json(),
        "live": "1" if place.live else "0",
        "database": place.cursor.database,
    }


def _pieces(steps: Sequence[_Step]) -> Iterator[list[_Step]]:
    """The steps, in order, in pieces that a Redis with many subscribers takes in time."""
    piece: list[_Step] = []
    events = 0
    for step in steps:
        events += 1 if isinstance(step, Recheck) else len(step[1])
        if piece and events > _EVENTS_PER_PIPELINE:
            yield piece
            piece, events = [], 1 if isinstance(step, Recheck) else len(step[1])
        piece.append(step)
    if piece:
        yield piece
