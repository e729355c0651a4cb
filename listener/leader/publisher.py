"""Writes to Redis for the leader: the stored state, channel logs and channels."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from redis.exceptions import ResponseError

from listener.leader.leader_state import LeaderState
from listener.leader.publication import Publication, PublicationRules
from listener.leader.tracing import LeaderTracing
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import (
    Pipeline,
    Script,
    has_moved_on,
    read_server,
    read_state,
    translated_errors,
)
from shared.links.redis_server import RedisServer
from shared.protocol.channels import Channel
from shared.protocol.control_messages import Recheck, Tick, recheck_message, tick_around_time
from shared.protocol.events import Publishable, publishable_reconnect

_LUA: Final = Path(__file__).parent / "lua"
PUBLISH_LUA: Final = (_LUA / "publish.lua").read_text()
_SAVE_LUA: Final = (_LUA / "save.lua").read_text()
_EVENTS_PER_PIPELINE: Final = 2000  # the deadline is per pipeline
# Errors without a class in redis-py that concern every command, not one key.
_SERVER_ERRORS: Final = ("MISCONF", "BUSY", "UNKILLABLE", "NOREPLICAS", "ACL failure in script")
Step: TypeAlias = Recheck | tuple[Channel, list[Publishable]]
AnyStep = TypeVar("AnyStep", bound=Step)


class PublishRefused(Exception):
    """Redis refuses commands, and the reset of single channels does not cover it."""


class Publisher:
    """Writes channel logs and the state.

    Every method raises ``RedisLost``. Call ``adopt`` again then: no state is kept in memory.
    """

    RESTORES_STATE: ClassVar = False  # may a leader write back what a failover has lost?
    PUBLISH: ClassVar = "PUBLISH"  # the command for the channels of projects and users

    def __init__(
        self,
        redis: RedisAccess,
        rules: PublicationRules,
        *,
        leader: str,
        ttl_seconds: int,
        tracing: LeaderTracing | None = None,
    ) -> None:
        self._redis = redis
        self._client = redis.client
        self._names = redis.names
        self._leader = leader
        self._rules = rules
        self._ttl_seconds = ttl_seconds
        self._tracing = tracing
        self._publish = self._save = Script("")

    async def adopt(self) -> tuple[dict[str, str], RedisServer]:
        """The stored state (empty: none), and the server that stores it, by new connections."""
        await self._client.drop_connections()
        async with translated_errors(self._client):
            self._publish = await Script.load(self._client, PUBLISH_LUA)
            self._save = await Script.load(self._client, _SAVE_LUA)
            server = await read_server(self._client)
            self._redis.check_mode(server)
            return await self._read_state(), server

    async def _read_state(self) -> dict[str, str]:
        try:
            return await read_state(self._client, self._names.state)
        except ResponseError as exc:
            if not str(exc).startswith("WRONGTYPE"):
                raise
            await self._client.delete(self._names.state)  # not written by a listener
            return {}

    async def server(self) -> RedisServer:
        """The server that answers now."""
        async with translated_errors(self._client):
            return await read_server(self._client)

    async def has_moved_on(self, own: RedisServer) -> bool:
        """Whether the address leads to another primary than *own* now."""
        return await has_moved_on(self._client, own)

    async def publish(self, publication: Publication, state: LeaderState) -> dict[Channel, str]:
        """Publish in the publication's order, many calls in one round trip.

        One call logs and publishes the events of a channel. Returns, once all calls are
        acknowledged, the channels whose events Redis refused, each with the reason. Their logs
        were removed (something else was stored there) and their clients reset. Raises
        ``PublishRefused`` if that was refused too.
        """
        refused: dict[Channel, str] = {}
        steps: list[Step] = [
            *publication.users.items(),
            *publication.rechecks,
            *publication.projects.items(),
        ]
        for piece in pieces(steps):
            # one connection, so Redis runs them in this order
            async with self._pipeline() as pipeline:
                for step in piece:
                    if isinstance(step, Recheck):
                        message = recheck_message(step)
                        pipeline.publish(self._names.recheck, message)  # type: ignore[unused-awaitable]
                    else:
                        self._queue(pipeline, self._publish, *step, state.generation)
                answers = await self._execute(pipeline, piece)
                reasons = [refusal(answer) for answer in answers]
            for step, reason in zip(piece, reasons, strict=True):
                if reason is not None and isinstance(step, Recheck):
                    raise PublishRefused(reason)
                if reason is not None and not isinstance(step, Recheck):
                    refused[step[0]] = reason
        for channel in refused:
            async with self._pipeline() as pipeline:
                self._queue_reset(pipeline, self._publish, channel, state.generation)
                await execute_reset(pipeline)
        return refused

    async def _execute(self, pipeline: Pipeline, steps: Sequence[Step]) -> list[Any]:
        """Execute the commands of *steps*. Return Redis's answers, errors among them."""
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        if self._tracing is not None:
            self._tracing.note_published(steps, answers)
        return answers

    def _queue_reset(
        self, pipeline: Pipeline, publish: Script, channel: Channel, generation: str
    ) -> None:
        pipeline.delete(self._names.log(channel))  # type: ignore[unused-awaitable]
        reset = publishable_reconnect("bulk_change", channel)
        self._queue(pipeline, publish, channel, [reset], generation)

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[Pipeline]:
        async with (
            translated_errors(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            yield pipeline

    def _queue(
        self,
        pipeline: Pipeline,
        publish: Script,
        channel: Channel,
        events: Sequence[Publishable],
        generation: str,
    ) -> None:
        publish.queue(
            pipeline,
            self._names.log(channel),
            self._names.channel(channel),
            generation,
            secrets.token_hex(4),
            self._rules.max_rows_of(channel.kind),
            self._ttl_seconds,
            self.PUBLISH,
            *(part for e in events for part in (e.member, e.head, e.tail)),
        )

    async def save(
        self, state: LeaderState, *, tick_lag_ms: int | None, database_at: int | None = None
    ) -> str | None:
        """Save the state, and tick unless *tick_lag_ms* is None, with the database's time.

        Returns the generation that is stored. Unless it is the state's, nothing was saved.
        """
        return await self._write(
            state, state.generation, self._saved(state), tick_lag_ms, database_at
        )

    async def reset(self, state: LeaderState) -> None:
        """Replace whatever state is stored, and tick.

        A gateway that sees the new generation resets its clients.
        """
        fields = {
            **self._saved(state),
            "generation": state.generation,
            "redis": state.redis,
            "reason": state.reason,
            "capture": state.capture,
        }
        await self._write(state, "", fields, 0)

    @property
    def linked_nodes(self) -> list[str] | None:
        """The addresses of a cluster's primaries that answer; None: this is no cluster."""
        return None

    @property
    def slots_version(self) -> int:
        """The version of a cluster's slot table; 0: this is no cluster."""
        return 0

    def _saved(self, state: LeaderState) -> dict[str, str]:
        """The fields that every save writes."""
        return {
            "cursor": state.cursor.to_json(),
            "live": "1" if state.live else "0",
            "database": state.cursor.database,
        }

    async def _write(
        self,
        state: LeaderState,
        stored: str,
        fields: Mapping[str, str],
        tick_lag_ms: int | None,
        database_at: int | None = None,
    ) -> str | None:
        before, after = b"", b""
        if tick_lag_ms is not None:
            database = state.cursor.database
            tick = Tick(
                state.generation,
                state.reason,
                live=state.live,
                database=database,
                slots=self.slots_version,
                database_at=database_at,
            )
            before, after = tick_around_time(tick, leader=self._leader, lag_ms=tick_lag_ms)
        pairs = [part for pair in fields.items() for part in pair]
        async with translated_errors(self._client):
            found: bytes | None = await self._save.run(
                self._client, self._names.state, stored, self._names.tick, before, after, *pairs
            )
        return None if found is None else found.decode(errors="replace")


async def execute_reset(pipeline: Pipeline) -> None:
    """Execute the reset of a channel. Raises ``PublishRefused``."""
    answers = await pipeline.execute(raise_on_error=False)
    for reason in filter(None, [refusal(answer) for answer in answers]):
        raise PublishRefused(reason)


def refusal(answer: Any) -> str | None:
    """The reason why Redis refused this one command; None if it did not.

    Raises the answer if it concerns every command: redis-py has classes for most such errors.
    """
    if not isinstance(answer, Exception):
        return None
    reason = str(answer)
    if type(answer) is not ResponseError or reason.startswith(_SERVER_ERRORS):
        raise answer
    return reason[:200]


def pieces(
    steps: Sequence[AnyStep], most_events: int = _EVENTS_PER_PIPELINE
) -> Iterator[list[AnyStep]]:
    """Split the steps, in order, so that Redis with many subscribers meets the deadline."""
    piece: list[AnyStep] = []
    events = 0
    for step in steps:
        events += 1 if isinstance(step, Recheck) else len(step[1])
        if piece and events > most_events:
            yield piece
            piece, events = [], 1 if isinstance(step, Recheck) else len(step[1])
        piece.append(step)
    if piece:
        yield piece
