"""How every process connects to the database of ``DATABASE_URL``."""

import ssl
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

import asyncpg

from shared.links.database_url import FILES, DatabaseUrl, parse_database_url
from shared.links.tls import check_files

# the server refuses or ends the connection: the next host may be the one
_ELSEWHERE: Final = (
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,
)
_ALPN: Final = ["postgresql"]  # PostgreSQL 17 wants it where TLS begins without its own request


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def connect_any(
    dsn: str,
    *,
    host: list[str] | None,
    port: list[int] | None,
    timeout: float,  # noqa: ASYNC109 asyncpg's own
    **arguments: Any,
) -> Connection:
    """asyncpg's ``connect``, with a share of the time for each of several hosts.

    It has one deadline for all, so that a first one that is frozen or cut off would use it up.
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
    """What ``connect_any``, and asyncpg's ``connect`` and ``create_pool``, take.

    With *may_be_pooled*, nothing depends on a session: poolers refuse most start-up parameters,
    so names are left to be found by ``DatabaseUrl.search_path`` in each transaction.
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
    """The parameters that have no effect here. Raises ``InvalidUrl``."""
    target = parse_database_url(url)
    files = {name: target.driver[name] for name in FILES if name in target.driver}
    check_files(files, lambda: _make_context(target))
    return target.ignored


def _make_context(target: DatabaseUrl) -> ssl.SSLContext:
    """A context that verifies, by the system's authorities unless the URL names others."""
    driver = target.driver
    context = ssl.create_default_context(cafile=driver.get("sslrootcert"))
    context.set_alpn_protocols(_ALPN)
    if "sslcrl" in driver:
        context.load_verify_locations(cafile=driver["sslcrl"])
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if "sslcert" in driver:
        # a function: with no password at all, OpenSSL would ask the terminal
        context.load_cert_chain(
            driver["sslcert"], driver["sslkey"], lambda: driver.get("sslpassword", "")
        )
    return context
