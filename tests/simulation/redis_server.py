"""A model of a Redis server: commands and subscriber connections that can be cut."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, NoScriptError, ResponseError

from shared.protocol.slots import slot_of
from tests.simulation.clockwork import Calls, Loop
from tests.simulation.published import Published
from tests.support.redis_model import SCRIPTS, Store

_STARTED: Final = 1_700_000_000_000_000
_INFO: Final = {"server": "run_id", "replication": "master_replid"}  # the field of each section


class Server:
    """One server. A node of a cluster *serves* only some keys and shard channels."""

    def __init__(
        self,
        loop: Loop,
        calls: Calls,
        *,
        name: str = "redis",
        published: Published | None = None,
        serves: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.loop = loop
        self.calls = calls
        self.name = name
        self.serves = serves
        self.published = published or Published()
        self.store = Store(self.now, self._tell)
        self.skew = 0
        self.run_id = 1
        self.is_silent = False
        self.scripts: set[str] = set()
        self.links: dict[str, Link] = {}
        self.saved: Any = None
        self.overhear: Callable[[bytes, bytes], None] = lambda *_: None

    def now(self) -> int:
        return _STARTED + self.skew + round(self.loop.time() * 1e6)

    def _tell(self, channel: bytes, payload: bytes, member: bytes) -> None:
        if member:
            self.published.add(member, payload)
        self.publish(channel, payload)

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.overhear(channel, payload)
        for link in self.links.values():
            link.publish(channel, payload)

    def check(self, key: str) -> None:
        """Raise what a node of a cluster answers if another one serves the key."""
        if not self.serves(key):
            raise MovedError(f"{slot_of(key)} other:1")

    def identity(self) -> str | None:
        """The server's identity, if it answers."""
        return None if self.is_silent else f"{self.run_id}.{self.run_id}"

    def links_of(self, owner: str) -> "list[Link]":
        """The subscriber connections of a process, which are named after it."""
        return [link for name, link in self.links.items() if name.split("/")[0] == owner]

    def forget(self, owner: str) -> None:
        """Drop the connections of a process that has ended."""
        self.links = {
            name: link for name, link in self.links.items() if name.split("/")[0] != owner
        }

    def be_silent(self) -> None:
        """Answer nobody, until ``is_silent`` is unset."""
        self.is_silent = True
        self.calls.cut(self.name, RedisConnectionError("the server does not answer"))
        for link in self.links.values():
            link.cut(loses=True)

    def hand_over(self, other: "Server") -> None:
        """Give another server what was saved last, or all if nothing was."""
        logs, state = self.saved or self.store.copy()
        other.store.logs, _ = _copied(logs, state)
        other.store.state = dict(state)
        self.published.doomed |= self._epochs() & other._epochs()

    def _epochs(self) -> set[str]:
        return {log.epoch.decode() for log in self.store.logs.values()}

    def unsubscribe_moved(self) -> None:
        """End the subscriptions to shard channels that another node serves now."""
        for link in self.links.values():
            link.unsubscribe_moved()

    def evict(self, key: str) -> None:
        if key == "state":
            self.store.state.clear()
        else:
            self.store.logs.pop(f"{{{key}}}:log", None)

    def set_back(self, microseconds: int) -> None:
        self.skew -= microseconds

    def save(self) -> None:
        self.saved = self.store.copy()

    def go_back(self, *, cuts: bool, loses: bool) -> None:
        """Return to the saved snapshot, as a failover that lost writes does."""
        if self.saved is None:
            return
        lost = self._epochs()
        logs, state = self.saved
        self.store.logs, self.store.state = {}, dict(state)
        self.store.logs, _ = _copied(logs, state)
        self.published.doomed |= lost & self._epochs()
        if cuts:
            self.restart(empty=False, loses=loses)
        else:
            self.run_id += 1

    def restart(self, *, empty: bool, loses: bool) -> None:
        if empty:
            self.store.logs, self.store.state = {}, {}
        self.run_id += 1
        self.scripts.clear()
        self.calls.cut(self.name, RedisConnectionError("the server went away"))
        for link in self.links.values():
            link.cut(loses=loses)

    def connect(self, owner: str, protocol: asyncio.Protocol) -> asyncio.Transport:
        if self.is_silent:
            raise ConnectionRefusedError
        link = self.links[owner] = Link(self, protocol)
        return link


def _copied(logs: Any, state: Any) -> Any:
    fresh = Store(lambda: 0, lambda *_: None)
    fresh.logs, fresh.state = logs, state
    return fresh.copy()


class Link(asyncio.Transport):
    """Both ends of a subscriber connection: pending commands and pending replies."""

    def __init__(self, server: Server, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._server = server
        self._loop = server.loop
        self._protocol = protocol
        self._reader = hiredis.Reader()
        self.asked: list[list[bytes]] = []
        self.replies: list[bytes] = []
        self.subscribed: dict[bytes, bytes] = {}  # names, each with the kind of its messages
        self.is_alive = True
        self._is_over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._reader.feed(bytes(data))
        while (command := self._reader.gets()) is not False:
            first, *words = command
            self.asked += [[first, word] for word in words] or [[first]]

    def is_closing(self) -> bool:
        return self._is_over

    def abort(self) -> None:
        self.is_alive = False
        if not self._is_over:
            self._is_over = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def take(self) -> bool:
        """Let the server take one command. Return whether there was one."""
        if not self.is_alive or not self.asked:
            return False
        match self.asked.pop(0):
            case [b"SUBSCRIBE", name]:
                self.subscribed[name] = b"message"
                self.replies.append(_reply(b"subscribe", name, len(self.subscribed)))
            case [b"SSUBSCRIBE", name] if not self._server.serves(name.decode()):
                self.replies.append(b"-MOVED %d other:1\r\n" % slot_of(name.decode()))
            case [b"SSUBSCRIBE", name]:
                self.subscribed[name] = b"smessage"
                self.replies.append(_reply(b"ssubscribe", name, len(self.subscribed)))
            case [b"UNSUBSCRIBE" | b"SUNSUBSCRIBE" as command, name]:
                self.subscribed.pop(name, None)
                self.replies.append(_reply(command.lower(), name, len(self.subscribed)))
            case [b"CLIENT", b"ID"]:
                self.replies.append(
                    b"-NOPERM this user may not run the 'client|id' command\r\n"
                )
            case [b"INFO", section]:
                told = b"%b:%d" % (_INFO[section.decode()].encode(), self._server.run_id)
                self.replies.append(b"$%d\r\n%b\r\n" % (len(told), told))
            case _:
                self.replies.append(b"+PONG\r\n")
        return True

    def publish(self, channel: bytes, payload: bytes) -> None:
        if self.is_alive and channel in self.subscribed:
            self.replies.append(_reply(self.subscribed[channel], channel, payload))

    def unsubscribe_moved(self) -> None:
        for name, kind in list(self.subscribed.items()):
            if kind == b"smessage" and not self._server.serves(name.decode()):
                del self.subscribed[name]
                self.replies.append(_reply(b"sunsubscribe", name, len(self.subscribed)))

    def deliver(self, count: int) -> bool:
        """Deliver *number* replies in one read. Return whether anything was delivered."""
        if self._is_over:
            return False
        if self.replies:
            chunk, self.replies = b"".join(self.replies[:count]), self.replies[count:]
            self._loop.do(lambda: self._protocol.data_received(chunk))
        elif not self.is_alive:
            self._loop.do(self.abort)
        else:
            return False
        return True

    def cut(self, *, loses: bool) -> None:
        self.is_alive = False
        if loses:
            self.replies.clear()


def _reply(kind: bytes, name: bytes, last: bytes | int) -> bytes:
    end = b":%d\r\n" % last if isinstance(last, int) else b"$%d\r\n%b\r\n" % (len(last), last)
    return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n%b" % (len(kind), kind, len(name), name, end)


class Client:
    """Replaces redis-py's client and pipeline for one process."""

    refusals = 0

    def __init__(self, locate: Callable[[], Server], owner: str) -> None:
        self._locate = locate
        self._located: Server | None = None
        self._owner = owner
        self._queued: list[tuple[str, Callable[[], Any]]] = []

    @property
    def _server(self) -> Server:
        """The server that it is connected to."""
        if self._located is None:
            self._located = self._locate()
        return self._located

    async def _ask(self, what: str, run: Callable[[], Any], *, whole: bool = False) -> Any:
        server = self._server
        if server.is_silent:
            raise RedisConnectionError("the server does not answer")
        return await server.calls.make(self._owner, server.name, what, run, whole=whole)

    async def script_load(self, source: str) -> bytes:
        name = SCRIPTS[source]
        await self._ask("load", partial(self._server.scripts.add, name))
        return name.encode()

    async def info(self, section: str) -> dict[str, Any]:
        server = self._server
        return await self._ask("info", lambda: {_INFO[section]: server.run_id})  # type: ignore[no-any-return]

    async def drop_connections(self) -> None:
        self._located = None

    def on_new_connection(self) -> "Client":
        return Client(self._locate, self._owner)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        return await self._ask("state", partial(self._state, self._server, key))  # type: ignore[no-any-return]

    def _state(self, server: Server, key: str) -> dict[bytes, bytes]:
        server.check(key)
        return dict(server.store.state)

    async def evalsha(self, sha: str, _keys: int, key: str, *arguments: Any) -> Any:
        return await self._ask(sha, partial(self._run, self._server, sha, key, arguments))

    def _run(self, server: Server, sha: str, key: str, arguments: Sequence[Any]) -> Any:
        server.check(key)
        if sha not in server.scripts:
            raise NoScriptError("NOSCRIPT")
        return server.store.run(sha, key, arguments)

    def pipeline(self, *, transaction: bool) -> "Pipeline":
        assert not transaction
        server = self._server
        return Pipeline(lambda: server, self._owner)


class Pipeline(Client):
    """Executes its commands in order, others' in between. The answers arrive together."""

    async def __aenter__(self) -> "Pipeline":
        return self

    def publish(self, channel: str, message: bytes) -> None:
        run = partial(self._server.publish, channel.encode(), message)
        self._queued.append((channel, run))

    def evalsha(self, sha: str, _keys: int, key: str, *arguments: Any) -> None:  # type: ignore[override]
        run = partial(self._run, self._server, sha, key, arguments)
        self._queued.append((f"{sha} {key}", run))

    async def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        found: list[Any] = []
        for what, run in self._queued:
            try:
                found.append(await self._ask(what, run, whole=True))
            except ResponseError as exc:
                found.append(exc)
        await self._ask("answers", lambda: None, whole=True)
        for answer in found:
            if raise_on_error and isinstance(answer, ResponseError):
                raise answer
        return found
