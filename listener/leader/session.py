"""A listener's sessions: one for LISTEN, one for the leader's lock, and one for its queries."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from listener.links.pg_link import (
    TIMEOUT_SECONDS,
    Connection,
    PgLost,
    connect,
    translated_errors,
)
from shared.links.database_id import DATABASE_ID_SQL
from shared.links.search_path import SEARCH_PATH
from shared.runtime.lifecycle import FatalError

_CHECK_SECONDS: Final = 1.0
_WORK_SECONDS: Final = 60.0
_NOTIFY_CHANNEL: Final = "cache_invalidate"
_TRY_LOCK: Final = "select neverstale.try_lead()"
LEADER_PID: Final = """\
select pid from pg_locks
 where locktype = 'relation' and granted and mode = 'ExclusiveLock'
   and relation = to_regclass('neverstale.leader')
   and database = (select oid from pg_database where datname = current_database())"""
# Some settings exist only in newer versions of PostgreSQL.
_SET: Final = """\
select count(set_config(name, wanted, false))
  from unnest($1::text[], $2::text[]) as given (name, wanted) join pg_settings using (name)"""
_END_LEADER: Final = (
    f"select pg_terminate_backend(pid) from ({LEADER_PID}) as holder where pid = $1"  # noqa: S608 constants alone
)

# A database or a role may have timeouts for the app that would cancel every read of a long log.
# Set after connecting: poolers refuse unknown start-up parameters.
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
# Limits how long the server considers a dead leader connected.
_SESSION_SETTINGS: Final = {
    **_OWN_SETTINGS,
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# A read that is prepared while the log is short keeps its plan when the log has grown: it must
# use the index from the start. (Before PostgreSQL 18 disabling a plan adds so much to its cost
# that it would be JIT-compiled.)
_WORK_SETTINGS: Final = {**_OWN_SETTINGS, "enable_seqscan": "off", "jit": "off"}
_POOLER: Final = (
    "DATABASE_URL leads through a pooler in transaction mode (a NOTIFY to our own LISTEN never "
    "arrived): LISTEN and the leader's lock need a session, so give the listener PostgreSQL's "
    "direct address"
)
_POOLED: Final = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)

log = logging.getLogger(__name__)


class Session:
    """The LISTEN session, and a second one for the leader's lock.

    The lock is a table lock, because any role could take an advisory lock. It lasts for a
    transaction, inside which PostgreSQL delivers no notifications, hence the second session. If
    either session is lost, so is the lock.
    """

    def __init__(self, connection: Connection, lock: Connection) -> None:
        self._connection = connection
        self._lock = lock
        self._asking = asyncio.Lock()  # a connection runs one query at a time
        self._locking = asyncio.Lock()
        self._leads = False
        self.lost = asyncio.Event()
        for one in (connection, lock):
            one.add_termination_listener(lambda _: self.lost.set())

    async def listen(self, on_notify: Callable[[str], None]) -> None:
        """Call *on_notify* with each payload. Raises ``PgLost``."""

        def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            on_notify(str(payload))

        async with translated_errors():
            await self._connection.add_listener(_NOTIFY_CHANNEL, receive)

    async def try_lead(self) -> bool:
        """Take the leader's lock if it is free, until the session ends. Raises ``PgLost``.

        Never waits in PostgreSQL's queue, where a frozen standby could get the lock before a
        healthy one. The transaction that holds the lock has neither an xid nor a snapshot, so
        it holds back no vacuum.
        """
        async with translated_errors(), self._locking:
            if not self._leads and await self._try_lock():
                await self._lock.execute("begin", timeout=TIMEOUT_SECONDS)
                self._leads = await self._try_lock()
                # "select", as a simple query, closes the previous portal and its snapshot
                await self._lock.execute(
                    "select" if self._leads else "rollback", timeout=TIMEOUT_SECONDS
                )
            return self._leads

    async def _try_lock(self) -> bool:
        return bool(await self._lock.fetchval(_TRY_LOCK, timeout=TIMEOUT_SECONDS))

    async def database(self) -> str:
        """Return an id of this database in this cluster. Raises ``PgLost``."""
        return str(await self._ask(DATABASE_ID_SQL))

    async def leader_pid(self) -> int | None:
        """Return the pid of the session that holds the leader's lock. Raises ``PgLost``."""
        pid = await self._ask(LEADER_PID)
        return pid if isinstance(pid, int) else None

    async def end_leader(self, pid: int) -> bool:
        """Terminate the session that holds the leader's lock, if that still is *pid*.

        Return False if another session holds it by now, or this role may not terminate it.
        """
        try:
            ended = await self._ask(_END_LEADER, pid)
        except FatalError:
            return False
        return bool(ended)

    async def ping(self) -> None:
        """Return once PostgreSQL has answered both sessions. Raises ``PgLost``."""
        await self._ask("select 1")
        async with translated_errors(), self._locking:
            await self._lock.execute("select", timeout=TIMEOUT_SECONDS)

    async def raise_when_lost(self) -> None:
        """Raise ``PgLost`` when a session ends or does not answer. Never returns.

        A frozen server keeps TCP connections alive, so the sessions are queried each second.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self.lost.wait()
                raise PgLost("the LISTEN session was ended")
            await self.ping()

    async def verify_direct(self, other: Connection) -> None:
        """Raise ``FatalError`` if a pooler shares this session among clients.

        A NOTIFY that *other* sends must arrive here.
        """
        channel = f"neverstale_probe_{secrets.token_hex(8)}"
        arrived = asyncio.Event()

        def receive(*_: object) -> None:
            arrived.set()

        try:
            async with translated_errors():
                await self._connection.add_listener(channel, receive)
                try:
                    await other.execute(f"notify {channel}")
                except asyncpg.ProgramLimitExceededError as exc:
                    # A session that listens never reads. Polling finds the logged changes.
                    log.warning("notification queue is full", extra={"reason": str(exc)})
                    return
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await arrived.wait()
            async with translated_errors():
                await self._connection.remove_listener(channel, receive)
        except (TimeoutError, *_POOLED) as exc:
            raise FatalError(_POOLER) from exc

    async def configure(self) -> None:
        """Set keepalives, and disable timeouts that end sessions. Raises ``PgLost``."""
        async with translated_errors(), self._asking, self._locking:
            for connection in (self._connection, self._lock):
                await _apply(connection, _SESSION_SETTINGS)

    async def _ask(self, sql: str, *values: int) -> object:
        async with translated_errors(), self._asking:
            return await self._connection.fetchval(sql, *values, timeout=TIMEOUT_SECONDS)


@asynccontextmanager
async def open_links(url: str) -> AsyncIterator[tuple[Session, Connection]]:
    """Open the verified LISTEN session with its lock session, and a connection for queries.

    Raises:
        PgLost: PostgreSQL cannot be reached.
        FatalError: the connection leads through a pooler, or PostgreSQL refuses it.
    """
    async with AsyncExitStack() as stack:

        async def open_one(name: str, **options: Any) -> Connection:
            connection = await connect(url, name, **options)
            stack.callback(connection.terminate)
            return connection

        listening = await open_one("neverstale listener", statement_cache_size=0)
        lock = await open_one("neverstale leader lock")
        work = await open_one("neverstale listener", command_timeout=_WORK_SECONDS)
        session = Session(listening, lock)
        await session.verify_direct(work)
        await session.configure()
        async with translated_errors():
            await _apply(work, _WORK_SETTINGS)
        yield session, work


async def _apply(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set the settings for the session, except those that an older server does not know.

    ``search_path`` comes first: a function that another role has created in a schema of the
    path could match a call better than PostgreSQL's own, and would be preferred.
    """
    await connection.execute(f"set search_path = {SEARCH_PATH}")
    await connection.fetchval(
        _SET, list(settings), list(settings.values()), timeout=TIMEOUT_SECONDS
    )
