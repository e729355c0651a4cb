"""The leader's side of Redis: the stored state, the channel logs and their channels."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from redis.exceptions import ResponseError

from listener.core.leadership import Place
from listener.core.publication import Publication, PublicationRules
from shared.core.channels import Channel, RedisNames
from shared.core.protocol import (
    Publishable,
    Recheck,
    Tick,
    publishable_reconnect,
    recheck_message,
    tick_around_time,
)
from shared.redis_link import (
    Client,
    Pipeline,
    RedisLost,
    Script,
    read_identity,
    read_state,
    telling_loss,
)

_LUA: Final = Path(__file__).parent / "lua"
_PUBLISH_LUA: Final = (_LUA / "publish.lua").read_text()
_SAVE_LUA: Final = (_LUA / "save.lua").read_text()
_EVENTS_PER_PIPELINE: Final = 2000  # each piece has a deadline of its own
# errors without a class in redis-py that concern whatever is sent, not one key
_OF_THE_SERVER: Final = ("MISCONF", "BUSY", "UNKILLABLE", "NOREPLICAS")
_Step: TypeAlias = Recheck | tuple[Channel, list[Publishable]]


class Refused(Exception):
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

    async def adopt(self) -> tuple[dict[str, str], str]:
        """The stored state (empty: none), and the identity of the Redis that stores it."""
        async with telling_loss():
            self._publish = await Script.load(self._client, _PUBLISH_LUA)
            self._save = await Script.load(self._client, _SAVE_LUA)
            identity = await read_identity(self._client)
            return await self._read_state(), identity

    async def _read_state(self) -> dict[str, str]:
        try:
            return await read_state(self._client, self._names.state)
        except ResponseError as exc:
            if not str(exc).startswith("WRONGTYPE"):
                raise
            await self._client.delete(self._names.state)  # it is somebody else's value
            return {}

    async def identity(self) -> str:
        """The identity of the Redis that answers now."""
        async with telling_loss():
            return await read_identity(self._client)

    async def publish(self, publication: Publication, generation: str) -> dict[Channel, str]:
        """Publish in its order, each channel's events logged in the same call, many calls in
        one round trip.

        Returns when all are acknowledged: the channels whose events Redis refused, each with
        the reason. Their logs were removed (what is stored there is not ours), and their
        clients reset. Raises ``Refused`` if that was refused too.
        """
        refused: dict[Channel, str] = {}
        steps: list[_Step] = [
            *publication.users.items(),
            *publication.rechecks,
            *publication.projects.items(),
        ]
        for piece in _pieces(steps):
            # one connection, so Redis runs them in this order
            async with telling_loss(), self._client.pipeline(transaction=False) as pipeline:
                for step in piece:
                    if isinstance(step, Recheck):
                        message = recheck_message(step)
                        pipeline.publish(self._names.recheck, message)  # type: ignore[unused-awaitable]
                    else:
                        self._queue(pipeline, *step, generation)
                answers = await pipeline.execute(raise_on_error=False)
            for step, answer in zip(piece, answers, strict=True):
                reason = _refusal(answer)
                if reason is not None and isinstance(step, Recheck):
                    raise Refused(reason)
                if reason is not None and not isinstance(step, Recheck):
                    refused[step[0]] = reason
        for channel in refused:
            await self._reset_channel(channel, generation)
        return refused

    async def _reset_channel(self, channel: Channel, generation: str) -> None:
        async with telling_loss(), self._client.pipeline(transaction=False) as pipeline:
            pipeline.delete(self._names.log(channel))  # type: ignore[unused-awaitable]
            reset = publishable_reconnect("bulk_change", channel)
            self._queue(pipeline, channel, [reset], generation)
            answers = await pipeline.execute(raise_on_error=False)
        for reason in filter(None, map(_refusal, answers)):
            raise Refused(reason)

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
            self._rules.most_rows(channel.kind),
            self._ttl_seconds,
            *(part for e in events for part in (e.member, e.head, e.tail)),
        )

    async def save(self, place: Place, *, tick_lag_ms: int | None) -> bool:
        """Save the cursor, and tick unless *tick_lag_ms* is None.

        False: another generation is stored.
        """
        fields = {"cursor": place.cursor.to_json(), "live": _live(place)}
        return await self._write(place, place.generation, fields, tick_lag_ms)

    async def reset(self, place: Place) -> None:
        """Make *place* the state whatever was stored, and tick.

        Each gateway that sees its generation resets.
        """
        fields = {
            "generation": place.generation,
            "cursor": place.cursor.to_json(),
            "redis": place.redis,
            "live": _live(place),
            "reason": place.reason,
            "capture": place.capture,
        }
        await self._write(place, "", fields, 0)

    async def _write(
        self,
        place: Place,
        stored: str,
        fields: Mapping[str, str],
        tick_lag_ms: int | None,
    ) -> bool:
        before, after = b"", b""
        if tick_lag_ms is not None:
            tick = Tick(place.generation, place.reason, live=place.live)
            before, after = tick_around_time(tick, leader=self._leader, lag_ms=tick_lag_ms)
        pairs = [part for pair in fields.items() for part in pair]
        async with telling_loss():
            saved = await self._save.run(
                self._client, self._names.state, stored, self._names.tick, before, after, *pairs
            )
        return bool(saved)


def _refusal(answer: Any) -> str | None:
    """Why Redis refused this one command, if it would take others.

    Raises ``RedisLost`` where it would not: redis-py has classes of their own for that.
    """
    if not isinstance(answer, Exception):
        return None
    reason = str(answer)
    if type(answer) is not ResponseError or reason.startswith(_OF_THE_SERVER):
        raise RedisLost(f"{type(answer).__name__}: {reason}") from answer
    return reason[:200]


def _live(place: Place) -> str:
    return "1" if place.live else "0"


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
