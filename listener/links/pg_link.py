"""Links to PostgreSQL: a LISTEN session with the leader's lock, and one to work with."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import asyncpg

from shared.links.database_id import DATABASE_ID_SQL
from shared.links.postgres import connect_any, connect_arguments
from shared.links.search_path import SEARCH_PATH
from shared.runtime.lifecycle import FatalError

TIMEOUT_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 1.0
WORK_SECONDS: Final = 60.0
NOTIFY_CHANNEL: Final = "cache_invalidate"
_TRY_LEAD: Final = "select neverstale.try_lead()"
LEADER_PID: Final = """\
select pid from pg_locks
 where locktype = 'relation' and granted and mode = 'ExclusiveLock'
   and relation = to_regclass('neverstale.leader')
   and database = (select oid from pg_database where datname = current_database())"""
# some settings are known to newer servers only
_SET: Final = """\
select count(set_config(name, wanted, false))
  from unnest($1::text[], $2::text[]) as given (name, wanted) join pg_settings using (name)"""
_END_HOLDER: Final = (
    f"select pg_terminate_backend(pid) from ({LEADER_PID}) as holder where pid = $1"  # noqa: S608 constants alone
)

# What a database or a role may have for the app's sake would end a read of a long log again and
# again, and the service. Set once connected: poolers refuse unknown start-up parameters.
_OWN_SETTINGS: Final = {
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "row_security": "off",  # an error where rows would be missing
}
# Bounds how long the server takes a dead leader for alive.
_SESSION_SETTINGS: Final = {
    **_OWN_SETTINGS,
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# The plan of a read that is prepared while the log is short stays when it has grown: it must be
# one by the index from the start. (Before PostgreSQL 18 a plan without a choice counts as so
# dear that it would be compiled.)
_WORK_SETTINGS: Final = {**_OWN_SETTINGS, "enable_seqscan": "off", "jit": "off"}
_POOLER: Final = (
    "DATABASE_URL leads through a pooler in transaction mode (a NOTIFY to our own LISTEN never "
    "arrived): LISTEN and the leader's lock need a session, so give the listener PostgreSQL's "
    "direct address"
)
_LOST: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that may become the primary
    asyncpg.ObjectNotInPrerequisiteStateError,  # the database takes no connections for now
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    # of what a migration has replaced, the session or the driver remembers something older
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalServerError,  # "cache lookup failed for ..."
)
# settings in the URL
_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)
_POOLED: Final = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)

log = logging.getLogger(__name__)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PgLost(Exception):
    """PostgreSQL did not answer, or ended the session."""


class NotAdmitted(FatalError):
    """PostgreSQL does not let this role, with this password, into this database."""


@asynccontextmanager
async def telling_loss() -> AsyncIterator[None]:
    """Turns what the library raises about the link into ``PgLost``, and what can't heal into
    ``FatalError``.
    """
    try:
        yield
    except asyncpg.ClientConfigurationError as exc:
        raise FatalError(f"DATABASE_URL: {exc}") from exc
    except _LOST as exc:
        raise PgLost(f"{type(exc).__name__}: {exc}") from exc
    except (
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedFunctionError,
    ) as exc:
        raise FatalError(
            f"Neverstale is not installed here, or by an older version ({exc}): "
            "run python -m listener install"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise FatalError(f"{exc}: see the grants in docs/how-to/postgresql-roles.md") from exc
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as exc:
        raise NotAdmitted(f"DATABASE_URL: {exc}") from exc


class Session:
    """The LISTEN session, and a second one for the leader's lock.

    A lock that a role without rights on our schema can't take (as it could an advisory lock)
    lives in a transaction, inside which PostgreSQL delivers no notification. Losing either
    session is losing the leader's lock.
    """

    def __init__(self, connection: Connection, lock: Connection) -> None:
        self._connection = connection
        self._lock = lock
        self._asking = asyncio.Lock()  # a connection answers one question at a time
        self._locking = asyncio.Lock()
        self._leads = False
        self.lost = asyncio.Event()
        for one in (connection, lock):
            one.add_termination_listener(lambda _: self.lost.set())

    async def listen(self, on_notify: Callable[[str], None]) -> None:
        """Call *on_notify* with each payload. Raises ``PgLost``."""

        def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            on_notify(str(payload))

        async with telling_loss():
            await self._connection.add_listener(NOTIFY_CHANNEL, receive)

    async def try_lead(self) -> bool:
        """Take the leader's lock if it is free, until the session ends. Raises ``PgLost``.

        Never waits in PostgreSQL's queue, where a standby that is frozen would be given the
        lock before one that is well. The transaction that holds the lock has neither an xid nor
        a snapshot, so it holds back no vacuum.
        """
        async with telling_loss(), self._locking:
            if not self._leads and await self._can_lead():
                await self._lock.execute("begin", timeout=TIMEOUT_SECONDS)
                self._leads = await self._can_lead()
                # "select", as a simple query, ends the portal before it and so its snapshot
                await self._lock.execute(
                    "select" if self._leads else "rollback", timeout=TIMEOUT_SECONDS
                )
            return self._leads

    async def _can_lead(self) -> bool:
        return bool(await self._lock.fetchval(_TRY_LEAD, timeout=TIMEOUT_SECONDS))

    async def database(self) -> str:
        """Which database of which cluster this is. Raises ``PgLost``."""
        return str(await self._ask(DATABASE_ID_SQL))

    async def leader_pid(self) -> int | None:
        """The session that holds the leader's lock. Raises ``PgLost``."""
        pid = await self._ask(LEADER_PID)
        return pid if isinstance(pid, int) else None

    async def end_leader(self, pid: int) -> bool:
        """End the session that holds the leader's lock, if it still is *pid*.

        False: it was another's by then, or is of a role that this one may not end.
        """
        try:
            ended = await self._ask(_END_HOLDER, pid)
        except FatalError:
            return False
        return bool(ended)

    async def answer(self) -> None:
        """Return once PostgreSQL has answered both sessions. Raises ``PgLost``."""
        await self._ask("select 1")
        async with telling_loss(), self._locking:
            await self._lock.execute("select", timeout=TIMEOUT_SECONDS)

    async def watch(self) -> None:
        """Raise ``PgLost`` as soon as the session is gone, or does not answer (a frozen server
        keeps TCP alive).
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self.lost.wait()
                raise PgLost("the LISTEN session was ended")
            await self.answer()

    async def verify_direct(self, other: Connection) -> None:
        """Raise ``FatalError`` unless this really is a session.

        A NOTIFY from another must arrive here.
        """
        channel = f"neverstale_probe_{secrets.token_hex(8)}"
        arrived = asyncio.Event()

        def receive(*_: object) -> None:
            arrived.set()

        try:
            async with telling_loss():
                await self._connection.add_listener(channel, receive)
                try:
                    await other.execute(f"notify {channel}")
                except asyncpg.ProgramLimitExceededError as exc:
                    # some session listens and never reads; polling finds what is logged
                    log.warning("notifications can't be sent", extra={"reason": str(exc)})
                    return
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await arrived.wait()
            async with telling_loss():
                await self._connection.remove_listener(channel, receive)
        except (TimeoutError, *_POOLED) as exc:
            raise FatalError(_POOLER) from exc

    async def configure(self) -> None:
        """Set what bounds the time that the server takes a dead session for alive, and that
        nothing else ends it. Raises ``PgLost``.
        """
        async with telling_loss(), self._asking, self._locking:
            for connection in (self._connection, self._lock):
                await _apply(connection, _SESSION_SETTINGS)

    async def _ask(self, sql: str, *values: int) -> object:
        async with telling_loss(), self._asking:
            return await self._connection.fetchval(sql, *values, timeout=TIMEOUT_SECONDS)


async def connect(url: str, name: str, **options: Any) -> Connection:
    """A connection to the database of ``DATABASE_URL``.

    Raises:
        PgLost: PostgreSQL can't be reached.
        FatalError: it can, and refuses what the URL asks for.
    """
    try:
        async with telling_loss():
            connection = await connect_any(
                **{"timeout": TIMEOUT_SECONDS, **connect_arguments(url, name), **options}
            )
    except _REFUSED as exc:
        raise FatalError(f"DATABASE_URL asks for what PostgreSQL refuses: {exc}") from exc
    except asyncpg.PostgresError as exc:
        raise PgLost(f"{type(exc).__name__}: {exc}") from exc
    except PgLost as exc:
        if "startup parameter" in str(exc):  # PgBouncer has one code for all its errors
            raise FatalError(f"DATABASE_URL leads through a pooler: {exc}") from exc
        raise
    return connection


@asynccontextmanager
async def open_links(url: str) -> AsyncIterator[tuple[Session, Connection]]:
    """A LISTEN session that was proved to be one, and a connection to work with.

    Raises:
        PgLost: PostgreSQL can't be reached.
        FatalError: it can, but not as Neverstale needs it.
    """
    async with AsyncExitStack() as stack:

        async def open_one(name: str, **options: Any) -> Connection:
            connection = await connect(url, name, **options)
            stack.callback(connection.terminate)
            return connection

        listening = await open_one("neverstale listener", statement_cache_size=0)
        lock = await open_one("neverstale leader lock")
        work = await open_one("neverstale listener", command_timeout=WORK_SECONDS)
        session = Session(listening, lock)
        await session.verify_direct(work)
        await session.configure()
        async with telling_loss():
            await _apply(work, _WORK_SETTINGS)
        yield session, work


async def _apply(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set them for the session; those that an older server does not know are left out.

    First the path: a function that another role has put into a schema of the session's path
    could fit a call of ours better than PostgreSQL's own, and would be preferred.
    """
    await connection.execute(f"set search_path = {SEARCH_PATH}")
    await connection.fetchval(
        _SET, list(settings), list(settings.values()), timeout=TIMEOUT_SECONDS
    )


@asynccontextmanager
async def reading(connection: Connection) -> AsyncIterator[None]:
    """A transaction that changes nothing, in which only PostgreSQL's own names are found.

    The setting ends with it: behind a pooler the session is another client's next.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"set local search_path = {SEARCH_PATH}")
        yield
    finally:
        await transaction.rollback()


@asynccontextmanager
async def finding_names(connection: Connection, path: str) -> AsyncIterator[None]:
    """Inside a transaction: have names found by another ``search_path`` for a moment.

    ``default`` is the path that the role or the database has for the app: the one by which
    names in ``invalidation.toml`` are meant.
    """
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        await connection.execute(f"set local search_path = {path}")
        yield
    finally:
        await savepoint.rollback()  # a released one would leave its search_path behind
