"""The listeners and gateways: the real adapters over the real cores, on models of servers.

Only ``listener.app`` (who leads, and for how long) and ``gateway.app`` (what is started) are
mirrored here; what is replaced is what they meet: the database, Redis, and sockets.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from aiohttp.http import HttpVersion11
from prometheus_client import CollectorRegistry

from gateway.access.checker import AccessChecker
from gateway.access.pairs import Pair
from gateway.access.revalidation import EVERYTHING, Revalidator
from gateway.auth.tickets import Tickets
from gateway.auth.token_rules import Identity
from gateway.delivery.fanout import Fanout
from gateway.delivery.redis_parts import redis_parts
from gateway.http.admission import Admission
from gateway.http.connection_records import ConnectionRecords
from gateway.http.connection_sweep import ConnectionSweep
from gateway.http.endpoint import WS_PATH, ClientEndpoint
from gateway.http.handshake import TokenSources
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import Rate, SocketLimits
from gateway.metrics import FanoutMetrics, LinkMetrics
from gateway.transport.websocket_frames import encode_text_frame
from listener.leader.cluster_publisher import ClusterPublisher
from listener.leader.leader import Leader
from listener.leader.metrics import LeaderMetrics
from listener.leader.notifications import Notifications
from listener.leader.publication import PublicationRules
from listener.leader.publisher import Publisher
from listener.links.pg_link import PgLost
from shared.config.access_rules import AccessRules
from shared.http.connection_limits import HttpConnectionLimiter, HttpLimits
from shared.http.upgrades import UpgradeRequest
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.redis_access import RedisAccess
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.close_codes import Refusal
from shared.protocol.control_messages import Recheck, parse_recheck, parse_tick
from tests.simulation import database, redis_server
from tests.simulation.clockwork import Calls, Loop
from tests.simulation.redis_cluster import TARGET, Cluster
from tests.support.frames import frame

RULES: Final = AccessRules("text", "text", "query", "members")
NAMES: Final = RedisNames()
MAX_ROWS: Final = 2
TTL_SECONDS: Final = 86400


class Violation(AssertionError):
    """The promise was broken."""


class Servers:
    """What all processes share."""

    def __init__(self, *, is_cluster: bool = False) -> None:
        self.loop = Loop()
        self.calls = Calls(self.loop)
        self.database = database.Database()
        self.cluster = Cluster(self.loop, self.calls, self._overhear) if is_cluster else None
        self.redis = (
            self.cluster.state_server
            if self.cluster
            else redis_server.Server(self.loop, self.calls)
        )
        self.redis.overhear = self._overhear
        self.published = self.redis.published
        self.loop.connector = self._connect
        self._generation = ""
        self._rechecked: dict[Recheck, int] = {}  # at which commit

    @property
    def redis_servers(self) -> Sequence[redis_server.Server]:
        return [*self.cluster.servers.values()] if self.cluster else [self.redis]

    def redis_of(self, key: str) -> redis_server.Server:
        """The server of a channel's log, or of the state."""
        if self.cluster is None:
            return self.redis
        return self.cluster.owner(NAMES.state if key == "state" else f"{{{key}}}")

    def access(self, owner: str) -> RedisAccess:
        """How a process reaches Redis."""
        if self.cluster is not None:
            return self.cluster.access(owner)
        client: Any = redis_server.Client(lambda: self.redis, owner)
        return RedisAccess(NAMES, TARGET.at(owner, 1), client)

    def links_of(self, owner: str) -> list[redis_server.Link]:
        """All subscriber connections of a process."""
        return [link for server in self.redis_servers for link in server.links_of(owner)]

    def _connect(self, host: str, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Connect to the one server, or to the node that a name like gateway/node/use names."""
        if self.cluster is None:
            return self.redis.connect(host, protocol)
        return self.cluster.servers[host.split("/")[1]].connect(host, protocol)

    def _overhear(self, channel: bytes, payload: bytes) -> None:
        """A loss is published, as a recheck or a reset, before what was committed after it."""
        tick, recheck = parse_tick(payload), parse_recheck(payload)
        if channel == NAMES.recheck.encode() and recheck is not None:
            self._rechecked[recheck] = self.database.commits
        elif channel == NAMES.tick.encode() and tick is not None:
            if tick.generation != self._generation:
                self._rechecked[Recheck(None, None)] = self.database.commits
            self._generation = tick.generation
        for told, commit in self.published.told_in(encode_text_frame(payload)):
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
        redis = self._servers.access(self.name)
        rules = PublicationRules(RULES, frozenset({"project"}), MAX_ROWS)
        make = partial(ClusterPublisher, nodes=redis.nodes) if redis.nodes else Publisher
        publisher = make(redis, rules=rules, leader=self.name, ttl_seconds=TTL_SECONDS)
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


class Socket:
    """A socket; plays its transport for the gateway."""

    def __init__(self, request: "Request", loop: Loop) -> None:
        self.request = request
        self.frames: list[bytes] = []  # written, not read yet
        self.status: int | None = None  # of a refusal before the upgrade
        self.is_slow = False
        self.has_left = False
        self.watch: Callable[[bytes], None] = lambda _: None
        self._loop = loop
        self._said: list[bytes] = []
        self._is_paused = False
        self._protocol: asyncio.Protocol

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def get_extra_info(self, _name: str) -> None:
        """Its address is not known: nothing is counted by it."""

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            head, _, data = data.partition(b"\r\n\r\n")
            status = int(head.split()[1])
            if status != 101:
                self.status = status
                return
        if data:
            self.frames.append(data)
            self.watch(data)

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 10**6 if self.is_slow and self.frames else 0

    def is_closing(self) -> bool:
        return self.has_left

    def abort(self) -> None:
        self.hang_up()

    def close(self) -> None:
        self.hang_up()

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.call_soon(self._read)

    def say(self, text: str) -> None:
        self._send(frame(1, text.encode()))

    def pong(self) -> None:
        self._send(frame(10, b""))

    def hang_up(self) -> None:
        if not self.has_left:
            self.has_left = True
            self._loop.call_soon(self._lose)

    def _send(self, data: bytes) -> None:
        self._said.append(data)
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        while self._said and not self._is_paused and not self.has_left:
            self._protocol.data_received(self._said.pop(0))

    def _lose(self) -> None:
        self._protocol.connection_lost(None)


class Request:
    """The head of a handshake request, and the socket that it came on."""

    def __init__(self, user: str, query: list[tuple[str, str]], *, is_v1: bool) -> None:
        self.user = user
        self.is_v1 = is_v1
        self.project = dict(query).get("project_id")
        self._query = query
        self.method = "GET"
        self.version = HttpVersion11
        self.path = WS_PATH
        self.headers = self
        self.query = self
        self.transport = None
        self.socket: Socket

    def getall(self, name: str, _default: object) -> list[str]:
        headers = {
            "Connection": ["Upgrade"],
            "Upgrade": ["websocket"],
            "Version": ["13"],
            "Sec-WebSocket-Version": ["13"],
            "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ=="],
            "Authorization": [f"Bearer {self.user}"],
            "Sec-WebSocket-Protocol": ["neverstale.v1"] if self.is_v1 else [],
        }
        return headers.get(name, []) + [value for key, value in self._query if key == name]


class _SlowAccess(ProjectAccess):
    """Lets other tasks run between a positive answer and the subscription."""

    def __init__(
        self,
        checker: AccessChecker,
        revalidator: Revalidator,
        wait: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(checker, revalidator)
        self._wait = wait

    async def refuse(self, project_id: str, user_id: str) -> Refusal | None:
        refusal = await super().refuse(project_id, user_id)
        if refusal is None:
            await self._wait()
        return refusal


class _Verifier:
    """Every token is its user's name."""

    leeway_seconds = 0
    key_changes = 0

    def now(self) -> float:
        return 0.0

    def seconds_left(self, identity: Identity) -> float:
        return identity.expires_at

    def is_withdrawn(self, _: Identity) -> bool:
        return False

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
        self.loop = servers.loop
        self._endpoint: ClientEndpoint
        self.rechecked: dict[Recheck, int] = {}  # at which commit
        self.task: asyncio.Task[None] = servers.loop.create_task(self._run())
        servers.loop.settle()

    async def _run(self) -> None:
        redis = self._servers.access(self.name)
        parts = redis_parts(redis, ttl_seconds=TTL_SECONDS)
        pool: Any = _Pool(self._servers, self.name)
        verifier: Any = _Verifier()
        registry = CollectorRegistry()
        async with asyncio.TaskGroup() as tasks:
            fanout = Fanout(
                parts.logs,
                redis.names,
                FanoutMetrics(registry),
                tasks,
                spread_seconds=0.5,
                slow_seconds=30,
                cluster=parts.channels,
            )
            self._fanout = fanout
            checker = AccessChecker(pool, RULES, registry)
            revalidator = Revalidator(checker, fanout.project_subscriptions, registry, tasks)
            self._note_rechecks(revalidator)
            limiter = ConnectionLimiter(
                ConnectionLimits(0, 0, 0, 0), (), "X-Forwarded-For", lambda: 0.0
            )
            access = ProjectAccess(checker, revalidator)
            tickets = Tickets(redis.client, redis.names)
            wait = partial(
                self._servers.calls.make, self.name, "client", "shake hands", lambda: None
            )
            admission = Admission(
                verifier,
                TokenSources(),
                tickets,
                _SlowAccess(checker, revalidator, wait),
                fanout,
                limiter,
                "text",
                0,
            )
            limits = SocketLimits(65_536, 0, Rate(0, 0))
            connections = OpenConnections(ConnectionRecords(registry), drain_seconds=1)
            self._endpoint = ClientEndpoint(
                admission,
                limiter,
                access,
                fanout,
                MessageHandler(verifier, access, revalidator, fanout, limits, "text"),
                connections,
                limits,
                (),
                registry,
                tasks,
            )
            tasks.create_task(checker.run())
            tasks.create_task(revalidator.run_safety_rechecks())
            tasks.create_task(fanout.run())
            tasks.create_task(ConnectionSweep(verifier, connections).run())
            tasks.create_task(
                parts.make_broker(
                    fanout, revalidator, connections.disconnect, LinkMetrics(registry)
                ).run()
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
        transport: Any = request.socket
        limiter = HttpConnectionLimiter(HttpLimits(), None, CollectorRegistry())
        self._servers.loop.do(
            lambda: self._endpoint.open(UpgradeRequest(transport, limiter, None, request, b""))
        )

    def _check_leak(self, user: str, data: bytes) -> None:
        """Nobody is told of what was committed after they lost the project, once that was
        heard of here; unless they have it again.
        """
        database, published = self._servers.database, self._servers.published
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
        for server in self._servers.redis_servers:
            for link in server.links_of(self.name):
                link.cut(loses=True)
            server.forget(self.name)
