"""Links to PostgreSQL: the LISTEN session, which also holds the leader's lock, and one
to work with.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias

import asyncpg

from shared.lifecycle import FatalError

TIMEOUT_SECONDS: Final = 5.0
HEARTBEAT_SECONDS: Final = 1.0
WORK_SECONDS: Final = 60.0
LOCK_CLASS: Final = 1853187955  # the advisory locks of Neverstale; the second key says which
LEADER_LOCK: Final = 1
NOTIFY_CHANNEL: Final = "cache_invalidate"

_HOLDER: Final = """\
select pid from pg_locks
 where locktype = 'advisory' and granted and objsubid = 2
   and classid = $1::bigint::oid and objid = $2::bigint::oid
   and database = (select oid from pg_database where datname = current_database())"""
# some settings are known to newer servers only
_SET: Final = """\
select count(set_config(name, wanted, false))
  from unnest($1::text[], $2::text[]) as given (name, wanted) join pg_settings using (name)"""
_END_HOLDER: Final = (
    f"select pg_terminate_backend(pid) from ({_HOLDER}) as holder where pid = $3"  # noqa: S608 constants alone
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
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
)
_POOLED: Final = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
)

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class PgLost(Exception):
    """PostgreSQL did not answer, or ended the session."""


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
    except (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedTableError) as exc:
        raise FatalError(
            f"Neverstale is not installed here ({exc}): run python -m listener install"
        ) from exc
    except asyncpg.InsufficientPrivilegeError as exc:
        raise FatalError(f"{exc}: see the grants in docs/operations.md") from exc
    except (
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as exc:
        raise FatalError(f"DATABASE_URL: {exc}") from exc


class Session:
    """The LISTEN session. It never holds a transaction open.

    Losing it is losing the leader's lock.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking = asyncio.Lock()  # a connection answers one question at a time
        self.lost = asyncio.Event()
        connection.add_termination_listener(lambda _: self.lost.set())

    async def listen(self, on_notify: Callable[[str], None]) -> None:
        """Call *on_notify* with each payload. Raises ``PgLost``."""

        def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            on_notify(str(payload))

        async with telling_loss():
            await self._connection.add_listener(NOTIFY_CHANNEL, receive)

    async def try_lead(self) -> bool:
        """Take the leader's lock if it is free.

        Never blocks: a blocked session pins the vacuum horizon.
        """
        return bool(
            await self._ask("select pg_try_advisory_lock($1, $2)", LOCK_CLASS, LEADER_LOCK)
        )

    async def leader_pid(self) -> int | None:
        """The session that holds the leader's lock. Raises ``PgLost``."""
        pid = await self._ask(_HOLDER, LOCK_CLASS, LEADER_LOCK)
        return pid if isinstance(pid, int) else None

    async def end_leader(self, pid: int) -> bool:
        """End the session that holds the leader's lock, if it still is *pid*.

        False: it was another's by then, or is of a role that this one may not end.
        """
        try:
            ended = await self._ask(_END_HOLDER, LOCK_CLASS, LEADER_LOCK, pid)
        except FatalError:
            return False
        return bool(ended)

    async def answer(self) -> None:
        """Return once PostgreSQL has answered this session. Raises ``PgLost``."""
        await self._ask("select 1")

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
                await other.execute(f"notify {channel}")
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
        await self._ask(_SET, *_columns(_SESSION_SETTINGS))

    async def _ask(self, sql: str, *values: str | int | list[str]) -> object:
        async with telling_loss(), self._asking:
            return await self._connection.fetchval(sql, *values, timeout=TIMEOUT_SECONDS)


@asynccontextmanager
async def open_links(url: str) -> AsyncIterator[tuple[Session, Connection]]:
    """A LISTEN session that was proved to be one, and a connection to work with.

    Raises:
        PgLost: PostgreSQL can't be reached.
        FatalError: it can, but not as Neverstale needs it.
    """
    async with AsyncExitStack() as stack:
        async with telling_loss():
            connection = await asyncpg.connect(
                url,
                timeout=TIMEOUT_SECONDS,
                statement_cache_size=0,
                server_settings={"application_name": "neverstale listener"},
            )
            stack.callback(connection.terminate)
            work = await asyncpg.connect(
                url,
                timeout=TIMEOUT_SECONDS,
                command_timeout=WORK_SECONDS,
                server_settings={"application_name": "neverstale listener"},
            )
            stack.callback(work.terminate)
        session = Session(connection)
        await session.verify_direct(work)
        await session.configure()
        async with telling_loss():
            await work.execute(_SET, *_columns(_WORK_SETTINGS))
        yield session, work


def _columns(settings: Mapping[str, str]) -> tuple[list[str], list[str]]:
    return list(settings), list(settings.values())
