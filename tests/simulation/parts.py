"""The listeners and gateways: the real adapters over the real cores, on models of servers.

Only ``listener.app`` (who leads, and for how long) and ``gateway.app`` (what is started) are
mirrored here; what is replaced is what they meet: the database, Redis, and sockets.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiohttp import WSMsgType, web
from aiohttp.http import HttpVersion11
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker
from gateway.access.pairs import Pair
from gateway.access.revalidation import EVERYTHING, Revalidator
from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import Identity
from gateway.delivery.broker import Broker
from gateway.delivery.channel_logs import ChannelLogs
from gateway.delivery.fanout import Fanout
from gateway.http.admission import Admission
from gateway.http.endpoint import WebSocketEndpoint
from gateway.http.handshake import TokenSources
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import Rate, SocketLimits
from gateway.metrics import FanoutMetrics
from gateway.transport.connection import NO_IDENTITY, Connection, OpenSocket
from gateway.transport.websocket_frames import encode_close_frame, encode_text_frame
from listener.leader.leader import Leader
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.publication import PublicationRules
from listener.leader.publisher import Publisher
from listener.links.pg_link import PgLost
from shared.config.access_rules import AccessRules
from shared.links.database_id import DATABASE_ID_SQL
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.control_messages import Recheck, parse_recheck, parse_tick
from tests.simulation import database, redis_server
from tests.simulation.clockwork import Calls, Loop

RULES: Final = AccessRules("text", "text", "query", "members")
NAMES: Final = RedisNames()
MAX_ROWS: Final = 2
TTL_SECONDS: Final = 86400


class Violation(AssertionError):
    """The promise was broken."""


class Servers:
    """What all processes share."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.calls = Calls(self.loop)
        self.database = database.Database()
        self.redis = redis_server.Server(self.loop, self.calls)
        self.loop.connector = self.redis.connect
        self.redis.overhear = self._overhear
        self._generation = ""
        self._rechecked: dict[Recheck, int] = {}  # at which commit

    def _overhear(self, channel: bytes, payload: bytes) -> None:
        """A loss is published, as a recheck or a reset, before what was committed after it."""
        tick, recheck = parse_tick(payload), parse_recheck(payload)
        if channel == NAMES.recheck.encode() and recheck is not None:
            self._rechecked[recheck] = self.database.commits
        elif channel == NAMES.tick.encode() and tick is not None:
            if tick.generation != self._generation:
                self._rechecked[Recheck(None, None)] = self.database.commits
            self._generation = tick.generation
        for told, commit in self.redis.published.told_in(encode_text_frame(payload)):
            for (project, user), lost in self.database.lost.items():
                rechecked = last_recheck(self._rechecked, project, user)
                if told == Channel("project", project) and rechecked < lost < commit:
                    raise Violation(f"{told.name} goes on before {user}'s loss is told")


def last_recheck(rechecked: Mapping[Recheck, int], project: str, user: str) -> int:
    """The newest commit at which a recheck concerned this access."""
    return max(rechecked.get(Recheck(p, u), 0) for p in (project, None) for u in (user, None))


class Listener:
    """One listener process, as ``listener.app`` runs it."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.name = name
        self._servers = servers
        self._metrics = LeaderMetrics(CollectorRegistry())
        self._noticed = asyncio.Event()
        self.session: int | None = None
        self.task: asyncio.Task[None] = servers.loop.create_task(self._run())
        servers.loop.settle()

    @property
    def is_leading(self) -> bool:
        return self.session is not None and self.session == self._servers.database.lock

    def kill(self) -> None:
        self._servers.loop.do(self.task.cancel)

    def notice(self) -> None:
        """It learns that its session is over, if it is."""
        if self.session is not None and not self.is_leading:
            self._servers.loop.do(self._noticed.set)

    async def _run(self) -> None:
        while True:
            with suppress(OSError):
                await self._servers.calls.make(self.name, "postgres", "lock", self._try_lock)
            if not self.is_leading:
                continue
            self._noticed.clear()
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch_session())
                    await self._make_leader().lead()
            except* PgLost:
                if self.is_leading:
                    self._servers.database.lock = None
            self.session = None

    def _try_lock(self) -> None:
        database = self._servers.database
        if database.lock is None:
            database.session += 1
            database.lock = self.session = database.session

    async def _watch_session(self) -> None:
        await self._noticed.wait()
        raise PgLost("the session was ended")

    def _make_leader(self) -> Leader:
        connection: Any = database.Connection(
            self._servers.database, self._servers.calls, self.name
        )
        client: Any = redis_server.Client(self._servers.redis, self.name)
        rules = PublicationRules(RULES, frozenset({"project"}), MAX_ROWS)
        publisher = Publisher(client, NAMES, rules, leader=self.name, ttl_seconds=TTL_SECONDS)
        mailbox = Notifications(rules, CollectorRegistry())
        return Leader(
            connection,
            connection,
            publisher,
            mailbox,
            rules,
            self._metrics,
            database=database.ID,
        )


@dataclass(frozen=True, slots=True)
class _Text:
    data: str
    type: WSMsgType = WSMsgType.TEXT


class Socket:
    """A socket; plays its transport for ``Connection``."""

    def __init__(self, request: "Request") -> None:
        self.request = request
        self.frames: list[bytes] = []  # written, not read yet
        self.status: int | None = None  # of a refusal before the upgrade
        self.is_slow = False
        self.has_left = False
        self.watch: Callable[[bytes], None] = lambda _: None
        self.said: asyncio.Queue[_Text | None] = asyncio.Queue()

    def write(self, data: bytes) -> None:
        self.frames.append(data)
        self.watch(data)

    def get_write_buffer_size(self) -> int:
        return 10**6 if self.is_slow and self.frames else 0

    def is_closing(self) -> bool:
        return self.has_left

    def abort(self) -> None:
        self.hang_up()

    def close(self) -> None:
        self.hang_up()

    def say(self, text: str) -> None:
        self.said.put_nowait(_Text(text))

    def hang_up(self) -> None:
        self.has_left = True
        self.said.put_nowait(None)


class _WebSocket:
    """Plays aiohttp's side of it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.closed = False

    async def close(self, *, code: int = 1000, message: bytes = b"") -> None:
        if not self.closed:
            self.closed = True
            self._socket.frames.append(encode_close_frame(code, message.decode()))

    async def __aiter__(self) -> AsyncIterator[_Text]:
        while (text := await self._socket.said.get()) is not None:
            yield text


class Request:
    """What the endpoint looks at of a request; the socket is opened on it."""

    def __init__(self, user: str, query: list[tuple[str, str]], *, is_v1: bool) -> None:
        self.user = user
        self.is_v1 = is_v1
        self.project = dict(query).get("project_id")
        self._query = query
        self.method = "GET"
        self.version = HttpVersion11
        self.headers = self
        self.query = self
        self.socket = Socket(self)
        self.shake_hands: Callable[[], Awaitable[None]]
        self.transport = None  # its address is not known: nothing is counted by it

    def getall(self, name: str, _default: object) -> list[str]:
        headers = {
            "Connection": ["Upgrade"],
            "Upgrade": ["websocket"],
            "Version": ["13"],
            "Sec-WebSocket-Version": ["13"],
            "Authorization": [f"Bearer {self.user}"],
            "Sec-WebSocket-Protocol": ["neverstale.v1"] if self.is_v1 else [],
        }
        return headers.get(name, []) + [value for key, value in self._query if key == name]


async def accept(
    kind: type[Connection],
    /,
    request: Request,
    closers: asyncio.TaskGroup,
    *,
    identity: Identity = NO_IDENTITY,
    **_limits: object,
) -> Connection:
    """Stand for ``Connection.accept``, during which other tasks run, too."""
    await request.shake_hands()
    transport: Any = request.socket
    websocket: Any = _WebSocket(request.socket)

    async def end_socket() -> None:
        request.socket.hang_up()

    return kind(OpenSocket(websocket, transport, end_socket), closers, identity)


class _Verifier:
    """Every token is its user's name."""

    leeway_seconds = 0

    async def verify(self, token: str) -> Identity:
        return Identity(token, 2**53)


class _Pool:
    """Plays asyncpg's pool, and its connection, for the one query that a gateway asks."""

    def __init__(self, servers: Servers, owner: str) -> None:
        self._servers = servers
        self._owner = owner

    @asynccontextmanager
    async def acquire(self) -> "AsyncIterator[_Pool]":
        yield self

    @asynccontextmanager
    async def transaction(self, *, readonly: bool) -> AsyncIterator[None]:
        assert readonly
        yield

    async def fetchval(self, query: str) -> list[str] | str:
        return database.ID if query == DATABASE_ID_SQL else ["public"]

    async def expire_connections(self) -> None:
        pass

    async def execute(self, _statements: str) -> None:
        pass

    async def fetch(
        self, _query: str, projects: list[str], users: list[str]
    ) -> list[tuple[str, str]]:
        def run() -> list[tuple[str, str]]:
            if self._servers.database.is_down_for_gateways:
                raise OSError("the database is away")
            pairs = zip(projects, users, strict=True)
            return [pair for pair in pairs if self._servers.database.may_see(*pair)]

        return await self._servers.calls.make(self._owner, "postgres", "access", run)


class Gateway:
    """One gateway process, as ``gateway.app`` starts it."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.name = name
        self._servers = servers
        self._endpoint: WebSocketEndpoint
        self.rechecked: dict[Recheck, int] = {}  # at which commit
        self.task: asyncio.Task[None] = servers.loop.create_task(self._run())
        servers.loop.settle()

    async def _run(self) -> None:
        client: Any = redis_server.Client(self._servers.redis, self.name)
        pool: Any = _Pool(self._servers, self.name)
        verifier: Any = _Verifier()
        registry = CollectorRegistry()
        async with asyncio.TaskGroup() as tasks:
            logs = ChannelLogs(client, NAMES, ttl_seconds=TTL_SECONDS)
            fanout = Fanout(
                logs, NAMES, FanoutMetrics(registry), tasks, spread_seconds=0.5, slow_seconds=30
            )
            self._fanout = fanout
            checker = AccessChecker(pool, RULES, registry)
            revalidator = Revalidator(checker, fanout.project_subscriptions, registry, tasks)
            self._note_rechecks(revalidator)
            limiter = ConnectionLimiter(
                ConnectionLimits(0, 0, 0, 0), (), "X-Forwarded-For", lambda: 0.0
            )
            access = ProjectAccess(checker, revalidator)
            tickets = Tickets(client, NAMES)
            admission = Admission(
                verifier, TokenSources(), tickets, access, fanout, limiter, "text"
            )
            limits = SocketLimits(0, 0, Rate(0, 0))
            connections = OpenConnections(drain_seconds=1)
            self._endpoint = WebSocketEndpoint(
                admission,
                limiter,
                access,
                fanout,
                MessageHandler(verifier, access, revalidator, fanout, limits, "text"),
                connections,
                limits,
                registry,
                tasks,
            )
            url = f"redis://{self.name}:1"
            tasks.create_task(checker.run())
            tasks.create_task(revalidator.run_safety_rechecks())
            tasks.create_task(fanout.run())
            tasks.create_task(
                Broker(url, client, NAMES, fanout, revalidator, connections.disconnect).run()
            )
            self._tasks = tasks

    def _note_rechecks(self, guard: Revalidator) -> None:
        original = guard.recheck

        def recheck_and_note(recheck: Recheck) -> None:
            self.rechecked[recheck] = self._servers.database.commits
            original(recheck)

        guard.recheck = recheck_and_note  # type: ignore[method-assign]

    @property
    def heard_by(self) -> set[Pair]:
        """Whose sockets here are subscribed to which projects."""
        return self._servers.loop.do(
            lambda: set(self._fanout.project_subscriptions.pairs(EVERYTHING))
        )

    def open(self, request: Request) -> None:
        request.socket.watch = partial(self._check_leak, request.user)
        request.shake_hands = partial(
            self._servers.calls.make, self.name, "client", "shake hands", lambda: None
        )

        async def serve() -> None:
            given: Any = request
            answer: Any = await self._endpoint.open(given)
            if isinstance(answer, web.Response):
                request.socket.status = answer.status

        _ = self._servers.loop.do(lambda: self._tasks.create_task(serve()))

    def _check_leak(self, user: str, data: bytes) -> None:
        """Nobody is told of what was committed after they lost the project, once that was
        heard of here; unless they have it again.
        """
        database, published = self._servers.database, self._servers.redis.published
        for channel, commit in published.told_in(data):
            lost = database.lost.get((channel.id, user))
            if channel.kind != "project" or lost is None or commit <= lost:
                continue
            if last_recheck(self.rechecked, channel.id, user) >= lost:
                raise Violation(f"leak: {user} is told of {channel.name}, commit {commit}")

    def kill(self) -> None:
        """Nothing of it goes on: not even to tidy up, which would begin to read anew."""
        self._servers.loop.do(self._fanout.link_lost)
        self._servers.loop.do(self.task.cancel)
        link = self._servers.redis.links.pop(self.name, None)
        if link is not None:
            link.cut(loses=True)
