"""A subscriber connection to Redis (RESP2), read directly from its transport.

redis-py's own pub/sub resubscribes silently, never checks that its PING was answered, and costs
ten times as much per message. Commands still use redis-py (``shared.links.redis_link``).
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, TypeAlias, cast

import hiredis

from shared.links.redis_link import TIMEOUT_SECONDS, RedisLost, describe_error, tls_context
from shared.links.redis_server import RedisServer, describe_server, parse_info
from shared.links.redis_url import RedisUrl
from shared.protocol.slots import slot_of

PING_SECONDS: Final = 1.0
_NAMES_PER_COMMAND: Final = 500

OnMessages: TypeAlias = Callable[[Sequence[tuple[bytes, bytes]]], None]
OnAcknowledged: TypeAlias = Callable[[Sequence[bytes]], None]
OnMoved: TypeAlias = Callable[[int | bytes], None]


class PubSub(asyncio.Protocol):
    """One connection. The messages of one read are passed on together.

    *on_moved*: of a cluster's shard channels. It gets the slot of channels that another node
    serves, whose subscriptions were refused, or the name of one that was ended.
    """

    def __init__(
        self,
        on_messages: OnMessages,
        on_acknowledged: OnAcknowledged,
        on_moved: OnMoved | None = None,
    ) -> None:
        self._on_messages = on_messages
        self._on_acknowledged = on_acknowledged
        self._on_moved = on_moved
        self._kind = "" if on_moved is None else "S"
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._pending: dict[bytes, int] = {}
        self._unanswered = 0
        self._info: list[bytes] = []
        self._commands: list[bytes] = []  # not written yet
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.pongs = 0
        self._pinged_at = 0.0
        self.round_trip_seconds = 0.0  # of the last PING that was answered
        self.client_id: int | None = None  # of the connection, unless Redis keeps it from us
        self.server: RedisServer

    @classmethod
    async def connect(
        cls,
        target: RedisUrl,
        on_messages: OnMessages,
        on_acknowledged: OnAcknowledged,
        on_moved: OnMoved | None = None,
    ) -> "PubSub":
        """Return an authenticated connection to a primary that has answered a PING.

        Raises ``RedisLost``.
        """
        loop = asyncio.get_running_loop()
        link: PubSub | None = None

        def make() -> PubSub:
            return cls(on_messages, on_acknowledged, on_moved)

        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if target.socket:
                    _, link = await loop.create_unix_connection(make, target.socket)
                else:
                    _, link = await loop.create_connection(
                        make, target.host, target.port, ssl=tls_context(target)
                    )
                if target.login:
                    link._send("AUTH", *target.login)
                link._send("CLIENT", "ID")
                link._send("INFO", "server")
                link._send("INFO", "replication")
                link.ping()
                await link._ready
                link._identify()
        except BaseException as exc:
            if link is not None:
                link.abort()  # closing it would wait for a frozen server
            if isinstance(exc, OSError):
                raise RedisLost(describe_error(exc)) from exc
            raise
        return link

    def _identify(self) -> None:
        self.server = describe_server(
            parse_info(b"\n".join(self._info).decode(errors="replace"))
        )
        if not self.server.is_primary:
            raise RedisLost("this server is a replica: REDIS_URL must lead to the primary")

    def subscribe(self, names: Sequence[str]) -> None:
        """Subscribe to channels.

        Each name is passed to *on_acknowledged* once no message is missed that is published
        from then on.
        """
        for name in names:
            self._pending[name.encode()] = self._pending.get(name.encode(), 0) + 1
        for some in self._commands_for(names):
            self._send(f"{self._kind}SUBSCRIBE", *some)

    def unsubscribe(self, names: Sequence[str]) -> None:
        for some in self._commands_for(names):
            self._send(f"{self._kind}UNSUBSCRIBE", *some)

    def _commands_for(self, names: Iterable[str]) -> Iterator[Sequence[str]]:
        """Split the names into commands: those of shard channels must share a slot."""
        if self._kind:
            for _, group in groupby(sorted(names, key=slot_of), slot_of):
                yield list(group)
            return
        names = list(names)
        for start in range(0, len(names), _NAMES_PER_COMMAND):
            yield names[start : start + _NAMES_PER_COMMAND]

    async def check(self, silent_seconds: float = TIMEOUT_SECONDS) -> bool:
        """Send a PING, wait for a second, and return whether a PING was answered.

        Raises ``RedisLost`` once the connection has ended, or no PING was answered for so long.
        """
        pongs = self.pongs
        self.ping()
        await asyncio.wait([self.lost], timeout=PING_SECONDS)
        if self.lost.done():
            raise RedisLost(self.lost.result())
        self._unanswered = self._unanswered + 1 if self.pongs == pongs else 0
        if self._unanswered * PING_SECONDS >= silent_seconds:
            raise RedisLost("the server did not answer PING")
        return not self._unanswered

    def ping(self) -> None:
        """Send a PING. Answers are counted in ``pongs``."""
        self._pinged_at = time.perf_counter()
        self._send("PING")

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(str(exc) if exc else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        messages: list[tuple[bytes, bytes]] = []
        acknowledged: list[bytes] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._parse(reply, messages, acknowledged)
        except hiredis.ProtocolError as exc:
            self.fail(f"the server does not speak the Redis protocol: {exc}")
            return
        # Messages of a channel that is acknowledged in the same read are passed on before the
        # acknowledgement, and dropped. They are older than the read of the channel's log that
        # the acknowledgement starts, so nothing is lost.
        if messages:
            self._on_messages(messages)
        if acknowledged:
            self._on_acknowledged(acknowledged)

    def _parse(
        self, reply: Any, messages: list[tuple[bytes, bytes]], acknowledged: list[bytes]
    ) -> None:
        match reply:
            case [b"message" | b"smessage", name, payload]:
                messages.append((name, payload))
            case [b"subscribe" | b"ssubscribe", name, _] if name in self._pending:
                # subscribed again after an unsubscribe: only the last acknowledgement counts
                self._pending[name] -= 1
                if not self._pending[name]:
                    del self._pending[name]
                    acknowledged.append(name)
            case b"PONG" | [b"pong", _]:
                self.pongs += 1
                self.round_trip_seconds = time.perf_counter() - self._pinged_at
                if not self._ready.done():
                    self._ready.set_result(None)
            case int():
                self.client_id = reply
            case hiredis.ReplyError():
                self._refused(reply)
            case bytes() if not self._ready.done() and b":" in reply:
                self._info.append(reply)
            case [b"sunsubscribe", name, _] if name not in self._pending:
                self._moved(name)  # by us, or because another node serves its slot now
            case _:
                pass  # the answers to AUTH and UNSUBSCRIBE

    def _refused(self, error: hiredis.ReplyError) -> None:
        kind, _, rest = str(error).partition(" ")
        if kind == "MOVED" and self._on_moved is not None:
            self._moved(int(rest.split()[0]))
        elif "'client|id'" not in rest:  # an ACL may forbid that one
            self.fail(describe_error(error))

    def _moved(self, where: int | bytes) -> None:
        """Report that another node serves a slot, or that the server ended a subscription."""
        if isinstance(where, int):
            for name in list(self._pending):
                if slot_of(name.decode()) == where:
                    del self._pending[name]
        if self._on_moved is not None:
            self._on_moved(where)

    def _send(self, *words: str) -> None:
        """Send a command, in one write with those of the same turn of the event loop."""
        if not self._commands:
            asyncio.get_running_loop().call_soon(self._write_commands)
        self._commands.append(hiredis.pack_command(words))  # type: ignore[arg-type]

    def _write_commands(self) -> None:
        commands, self._commands = self._commands, []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(commands))

    def fail(self, reason: str) -> None:
        """Abort the connection, and report it as lost for *reason*."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if not self._ready.done():
            self._ready.set_exception(RedisLost(reason))
        self.abort()
