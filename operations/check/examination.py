"""Reads the facts of each part of a set-up, and collects what the rules find in them."""

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
import asyncpg

from listener.leader.session import Session
from listener.links.pg_link import (
    Connection,
    NotAdmitted,
    PgLost,
    connect,
    rolled_back_transaction,
    translated_errors,
)
from listener.setup.check import read_facts
from listener.setup.database_findings import find_in_database
from listener.setup.install import Config
from operations.check.cluster_facts import read_cluster, read_sentinels
from operations.check.cluster_findings import find_in_cluster, find_in_sentinels
from operations.check.gateway_facts import ANSWER_SECONDS, read_gateway
from operations.check.gateway_findings import find_in_gateway
from operations.check.probe import Probe
from operations.check.probe_findings import find_in_probe
from operations.check.redis_facts import read_redis
from operations.check.redis_findings import RedisFacts, find_in_redis
from operations.check.report import Report, find_in_clocks
from operations.check.token_findings import find_in_token
from operations.check.tokens import TokenSettings
from operations.settings import CheckSettings
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.postgres import check_database_url
from shared.links.redis_access import RedisAccess, open_redis
from shared.links.redis_link import RedisLost
from shared.runtime.findings import Finding, note, problem
from shared.runtime.lifecycle import FatalError
from shared.runtime.version import VERSION

_NAME: Final = "neverstale check"
_TIME: Final = "select extract(epoch from clock_timestamp())::float8"
_ROLES: Final = "docs/how-to/postgresql-roles.md"
_LEFT_OUT: Final = "sockets and event streams that are open (no --token)"
_NO_EFFECT: Final = "remove them, or write them as docs/reference/connection-urls.md says"


@dataclass(frozen=True, slots=True)
class Targets:
    """What to check beside what the settings name."""

    gateways: Sequence[str] = ()
    origins: Sequence[str] = ()
    token: str = ""
    project: str = ""
    sends_probe: bool = False


class Examination:
    """One check of a set-up."""

    def __init__(
        self,
        settings: CheckSettings,
        config: Config | None,
        tokens: TokenSettings | None,
        targets: Targets,
    ) -> None:
        self._settings = settings
        self._config = config
        self._tokens = tokens
        self._targets = targets
        self._database = ""
        self._report = Report()

    async def run(self) -> Report:
        """Check each part, whatever is wrong with the others."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # not aiohttp's own, which is made when it is imported, by what SSL_CERT_FILE was then
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context())
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
            self._open_redis() as redis,
        ):
            if self._settings.database_url is not None:
                url = self._settings.database_url.get_secret_value()
                await self._check_database(url, http, redis)
            if redis is not None:
                await self._check_redis(redis)
            await self._check_tokens()
            for url in self._targets.gateways:
                await self._check_gateway(http, url)
        report = self._report
        report.findings += find_in_clocks(report.clocks)
        report.findings.sort(key=lambda one: one.severity == "note")
        return report

    def _open_redis(self) -> AbstractAsyncContextManager[RedisAccess | None]:
        settings = self._settings
        if settings.redis_url is None:
            return nullcontext()
        return open_redis(
            settings.redis_url.get_secret_value(),
            settings.redis_prefix,
            is_cluster=settings.redis_cluster,
        )

    async def _check_database(
        self, url: str, http: aiohttp.ClientSession, redis: RedisAccess | None
    ) -> None:
        found = self._report.findings
        if ignored := check_database_url(url):
            found.append(
                note(
                    "postgresql.ignored_parameters",
                    f"parameters of DATABASE_URL have no effect here: {', '.join(ignored)}",
                    _NO_EFFECT,
                )
            )
        self._report.checked["postgresql"] = {}
        try:
            connection = await connect(url, _NAME, timeout=10)
        except (PgLost, FatalError) as exc:
            found.append(_describe_failure(exc))
            return
        try:
            await self._read_database(connection, url)
            if self._targets.sends_probe:
                await self._probe(connection, http, redis)
        except (PgLost, FatalError, asyncpg.PostgresError) as exc:
            found.append(_describe_failure(exc))
        finally:
            await connection.close()

    async def _read_database(self, connection: Connection, url: str) -> None:
        assert self._config is not None  # noqa: S101 it is read if there is a DATABASE_URL
        config = self._config
        async with translated_errors(), rolled_back_transaction(connection):
            facts = await read_facts(connection, config, config.access)
            seconds = await connection.fetchval(_TIME)
            self._note_clock("postgresql", seconds - datetime.now(UTC).timestamp())
            self._database = str(await connection.fetchval(DATABASE_ID_SQL))
        found = find_in_database(facts)
        self._report.findings += found
        self._report.checked["postgresql"] = {
            "version": facts.server_version,
            "watched_tables": len(config.watches),
        }
        if not facts.is_standby and await _is_pooled(connection, url):
            self._report.findings.append(
                problem(
                    "postgresql.pooled",
                    "DATABASE_URL leads through a pooler in transaction mode, behind which "
                    "LISTEN does not work",
                    "give the listener PostgreSQL's direct address; gateways may use this one",
                )
            )

    async def _check_redis(self, redis: RedisAccess) -> None:
        found = self._report.findings
        if ignored := redis.target.ignored:
            found.append(
                note(
                    "redis.ignored_parameters",
                    f"parameters of REDIS_URL have no effect here: {', '.join(ignored)}",
                    _NO_EFFECT,
                )
            )
        self._report.checked["redis"] = {}
        try:
            if redis.target.sentinel is not None:
                sentinels = await read_sentinels(redis.target, redis.target.sentinel)
                found += find_in_sentinels(sentinels)
                if sentinels.primaries and not sentinels.finds_primary:
                    return
            if redis.nodes is None:
                facts = await read_redis(redis.client, redis.names, own_database=self._database)
                found += find_in_redis(facts)
                self._describe_redis({"redis": facts})
            else:
                cluster = await read_cluster(redis, redis.nodes, own_database=self._database)
                found += find_in_cluster(cluster)
                self._describe_redis(
                    {f"redis {address}": facts for address, facts in cluster.nodes.items()},
                    primaries=len(cluster.primaries),
                    replicas=len(cluster.nodes) - len(cluster.primaries),
                )
        except RedisLost as exc:
            found.append(
                problem(
                    "redis.unreachable",
                    f"Redis does not answer: {exc}",
                    "check REDIS_URL, its user and password, the network and the server",
                )
            )

    def _describe_redis(self, read: Mapping[str, RedisFacts], **more: int) -> None:
        """Note the clocks of the servers, by their names, and what is worth knowing of them."""
        for name, facts in read.items():
            self._note_clock(name, facts.clock_ahead)
        slowest = max(read.values(), key=lambda facts: facts.ping_seconds)
        self._report.checked["redis"] = {
            "version": slowest.version,
            **more,
            "ping_ms": round(slowest.ping_seconds * 1000, 2),
            "pubsub_buffer": slowest.pubsub_buffer or None,
        }

    async def _check_tokens(self) -> None:
        tokens, found = self._tokens, self._report.findings
        if tokens is None:
            return
        if not await tokens.can_read_keys():
            found.append(
                problem(
                    "token.keys",
                    "the keys that verify tokens cannot be read",
                    "see JWT_JWKS_URL or JWT_KEYS_FILE, and whether this host can read it",
                )
            )
        elif self._targets.token:
            user_type = self._config.access.user_type if self._config else "text"
            facts = await tokens.explain(self._targets.token, user_type)
            found += find_in_token(facts)
            self._report.checked["token"] = facts.describe()

    async def _check_gateway(self, http: aiohttp.ClientSession, url: str) -> None:
        targets, key = self._targets, self._settings.admin_key
        facts, clock_ahead = await read_gateway(
            http,
            url,
            origins=targets.origins,
            token=targets.token,
            project=targets.project,
            admin_key=key.get_secret_value() if key else "",
        )
        self._note_clock(url, clock_ahead)
        self._report.findings += find_in_gateway(facts, version=VERSION)
        self._report.checked.setdefault("gateways", []).append(
            {
                "url": url,
                "status": (facts.readiness or {}).get("status"),
                "version": facts.version or None,
                "certificate_days": facts.certificate_days and round(facts.certificate_days, 1),
                "event_stream_ms": facts.stream.seconds
                and round(facts.stream.seconds * 1000, 1),
                "not_checked": None if targets.token else _LEFT_OUT,
            }
        )

    async def _probe(
        self, connection: Connection, http: aiohttp.ClientSession, redis: RedisAccess | None
    ) -> None:
        targets = self._targets
        facts = await Probe(targets.project).run(
            http, connection, targets.gateways, token=targets.token, redis=redis
        )
        self._report.findings += find_in_probe(facts)
        self._report.checked["probe"] = facts.describe()

    def _note_clock(self, name: str, ahead: float | None) -> None:
        if ahead is not None:
            self._report.clocks[name] = ahead


async def _is_pooled(connection: Connection, url: str) -> bool:
    """Return whether a NOTIFY of one session does not reach another that listens."""
    listening = await connect(url, _NAME, statement_cache_size=0)
    try:
        await Session(listening, listening).verify_direct(connection)
    except FatalError:
        return True
    finally:
        listening.terminate()
    return False


def _describe_failure(exc: Exception) -> Finding:
    """Return why the database could not be checked."""
    if isinstance(exc, NotAdmitted):
        return problem(
            "postgresql.not_admitted",
            str(exc),
            "correct the user, password or database of DATABASE_URL, or pg_hba.conf",
        )
    if isinstance(exc, PgLost):
        return problem(
            "postgresql.unreachable",
            f"PostgreSQL does not answer: {exc}",
            "check DATABASE_URL, the network and the server",
        )
    if isinstance(exc, FatalError):
        return problem("postgresql.refused", str(exc), f"see {_ROLES}")
    return problem(
        "postgresql.refused_statement",
        f"PostgreSQL refused a statement, nothing was changed: {exc}",
        "see docs/how-to/troubleshooting.md",
    )
