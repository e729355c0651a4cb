"""Connects to the database at ``DATABASE_URL``."""

import ssl
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

import asyncpg

from shared.links.database_url import FILES, DatabaseUrl, parse_database_url
from shared.links.tls import check_files

# The server refuses or ends the connection: the next host may accept it.
_ELSEWHERE: Final = (
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
)
_ALPN: Final = [
    "postgresql"
]  # required by PostgreSQL 17 for direct TLS (sslnegotiation=direct)


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def connect_any(
    dsn: str,
    *,
    host: list[str] | None,
    port: list[int] | None,
    timeout: float,  # noqa: ASYNC109 asyncpg's own
    **arguments: Any,
) -> Connection:
    """Connect as asyncpg's ``connect`` does, with a share of the timeout for each host.

    asyncpg has one deadline for all hosts, which a first host that is frozen would use up.
    """
    hosts: list[Any] = host or [None]
    ports: list[Any] = port or [None] * len(hosts)
    *first, last = zip(hosts, ports, strict=True)
    share = {"timeout": timeout / len(hosts), **arguments}
    for one, its_port in first:
        try:
            return await asyncpg.connect(dsn, host=one, port=its_port, **share)
        except (OSError, *_ELSEWHERE):
            continue
    return await asyncpg.connect(dsn, host=last[0], port=last[1], **share)


def connect_arguments(
    url: str, application_name: str, *, may_be_pooled: bool = False
) -> dict[str, Any]:
    """Return the arguments of ``connect_any`` and of asyncpg's ``connect`` and ``create_pool``.

    With *may_be_pooled*, nothing depends on a session: poolers refuse most start-up parameters,
    so the caller sets ``DatabaseUrl.search_path`` in each transaction.
    """
    target = parse_database_url(url)
    settings = {"application_name": application_name}
    if target.options:
        settings["options"] = target.options
    if target.search_path and not may_be_pooled:
        settings["search_path"] = target.search_path
    arguments: dict[str, Any] = {
        "dsn": f"postgresql://?{urlencode(target.driver, quote_via=quote)}",
        "host": list(target.hosts) or None,
        "port": list(target.ports) or None,
        "user": target.user or None,
        "password": target.password or None,
        "database": target.database or None,
        "server_settings": settings,
    }
    if target.trusts_system:
        arguments["ssl"] = _make_context(target)
    if may_be_pooled and not target.prepares:
        arguments["statement_cache_size"] = 0
    return arguments


def check_database_url(url: str) -> tuple[str, ...]:
    """Return the parameters that are ignored. Raises ``InvalidUrl``."""
    target = parse_database_url(url)
    files = {name: target.driver[name] for name in FILES if name in target.driver}
    if files:  # without any, a context reads the system's authorities, which takes 50 ms
        check_files(files, lambda: _make_context(target))
    return target.ignored


def _make_context(target: DatabaseUrl) -> ssl.SSLContext:
    """Return a context that verifies with the URL's authorities, or else the system's."""
    driver = target.driver
    context = ssl.create_default_context(cafile=driver.get("sslrootcert"))
    context.set_alpn_protocols(_ALPN)
    if "sslcrl" in driver:
        context.load_verify_locations(cafile=driver["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in driver:
        # a function: without any password, OpenSSL would prompt on the terminal
        context.load_cert_chain(
            driver["sslcert"], driver["sslkey"], lambda: driver.get("sslpassword", "")
        )
    return context
