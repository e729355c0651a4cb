"""A model of a Redis server: commands and subscriber connections that can be cut."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from tests.simulation.clockwork import Calls, Loop
from tests.simulation.published import Published
from tests.support.redis_model import SCRIPTS, Store

_STARTED: Final = 1_700_000_000_000_000
_INFO: Final = {"server": "run_id", "replication": "master_replid"}  # the field of each section


class Server:
    def __init__(self, loop: Loop, calls: Calls) -> None:
        self.loop = loop
        self.calls = calls
        self.published = Published()
        self.store = Store(self.now, self._tell)
        self.skew = 0
        self.run_id = 1
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
        lost = {log.epoch.decode() for log in self.store.logs.values()}
        logs, state = self.saved
        self.store.logs, self.store.state = {}, dict(state)
        self.store.logs, _ = _copied(logs, state)
        back = {log.epoch.decode() for log in self.store.logs.values()}
        self.published.doomed |= lost & back
        if cuts:
            self.restart(empty=False, loses=loses)
        else:
            self.run_id += 1

    def restart(self, *, empty: bool, loses: bool) -> None:
        if empty:
            self.store.logs, self.store.state = {}, {}
        self.run_id += 1
        self.scripts.clear()
        self.calls.cut("redis", RedisConnectionError("the server went away"))
        for link in self.links.values():
            link.cut(loses=loses)

    def connect(self, owner: str, protocol: asyncio.Protocol) -> asyncio.Transport:
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
        self.subscribed: set[bytes] = set()
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
                self.subscribed.add(name)
                self.replies.append(_reply(b"subscribe", name, len(self.subscribed)))
            case [b"UNSUBSCRIBE", name]:
                self.subscribed.discard(name)
                self.replies.append(_reply(b"unsubscribe", name, len(self.subscribed)))
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
            self.replies.append(_reply(b"message", channel, payload))

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

    def __init__(self, server: Server, owner: str) -> None:
        self._server = server
        self._owner = owner
        self._queued: list[tuple[str, Callable[[], Any]]] = []

    async def _ask(self, what: str, run: Callable[[], Any], *, whole: bool = False) -> Any:
        return await self._server.calls.make(self._owner, "redis", what, run, whole=whole)

    async def script_load(self, source: str) -> bytes:
        name = SCRIPTS[source]
        await self._ask("load", lambda: self._server.scripts.add(name))
        return name.encode()

    async def info(self, section: str) -> dict[str, Any]:
        return await self._ask("info", lambda: {_INFO[section]: self._server.run_id})  # type: ignore[no-any-return]

    async def drop_connections(self) -> None:
        pass

    def on_new_connection(self) -> "Client":
        return Client(self._server, self._owner)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def hgetall(self, _key: str) -> dict[bytes, bytes]:
        return await self._ask("state", lambda: dict(self._server.store.state))  # type: ignore[no-any-return]

    async def evalsha(self, sha: str, _keys: int, key: str, *arguments: Any) -> Any:
        return await self._ask(sha, lambda: self._run(sha, key, arguments))

    def _run(self, sha: str, key: str, arguments: Sequence[Any]) -> Any:
        if sha not in self._server.scripts:
            raise NoScriptError("NOSCRIPT")
        return self._server.store.run(sha, key, arguments)

    def pipeline(self, *, transaction: bool) -> "Pipeline":
        assert not transaction
        return Pipeline(self._server, self._owner)


class Pipeline(Client):
    """Executes its commands in order, others' in between. The answers arrive together."""

    async def __aenter__(self) -> "Pipeline":
        return self

    def publish(self, channel: str, message: bytes) -> None:
        run = lambda: self._server.publish(channel.encode(), message)  # noqa: E731
        self._queued.append((channel, run))

    def evalsha(self, sha: str, _keys: int, key: str, *arguments: Any) -> None:  # type: ignore[override]
        self._queued.append((f"{sha} {key}", lambda: self._run(sha, key, arguments)))

    async def execute(self, *, raise_on_error: bool = True) -> list[Any]:
        found: list[Any] = []
        for what, run in self._queued:
            try:
                found.append(await self._ask(what, run, whole=True))
            except NoScriptError as exc:
                found.append(exc)
        await self._ask("answers", lambda: None, whole=True)
        for answer in found:
            if raise_on_error and isinstance(answer, NoScriptError):
                raise answer
        return found
