"""A gateway: the real adapters over the real cores, on models of servers.

Only ``gateway.app`` (what is started) is mirrored here; what is replaced is what they meet: the
database, Redis, and sockets.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

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
from gateway.http.endpoint import ClientEndpoint
from gateway.http.handshake import TokenSources
from gateway.http.message_handler import MessageHandler
from gateway.http.open_connections import OpenConnections
from gateway.http.project_access import ProjectAccess
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import Rate, SocketLimits
from gateway.metrics import FanoutMetrics, LinkMetrics
from shared.http.connection_limits import HttpConnectionLimiter, HttpLimits
from shared.http.upgrades import UpgradeRequest
from shared.links.database_id import DATABASE_ID_SQL
from shared.protocol.close_codes import Refusal
from shared.protocol.control_messages import Recheck
from tests.simulation import database
from tests.simulation.servers import RULES, TTL_SECONDS, Servers, Violation, last_recheck
from tests.simulation.sockets import Request


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
    def subscribed(self) -> set[Pair]:
        """The projects that have subscribers here, each with the user."""
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
        """Fail if a user gets a change that was committed after the user lost the project, and
        this gateway had received the recheck of the loss; unless the user has access again.
        """
        database, published = self._servers.database, self._servers.published
        for channel, commit in published.told_in(data):
            lost = database.lost.get((channel.id, user))
            if channel.kind != "project" or lost is None or commit <= lost:
                continue
            if last_recheck(self.rechecked, channel.id, user) >= lost:
                raise Violation(f"leak: {user} gets {channel.name}, commit {commit}")

    def kill(self) -> None:
        """End it without any clean-up, which would begin new reads."""
        self._servers.loop.do(self._fanout.link_lost)
        self._servers.loop.do(self.task.cancel)
        for server in self._servers.redis_servers:
            for link in server.links_of(self.name):
                link.cut(loses=True)
            server.forget(self.name)
