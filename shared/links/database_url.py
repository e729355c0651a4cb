"""Parses ``DATABASE_URL`` in the forms that libpq, ORMs and frameworks write."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.links.urls import (
    Host,
    InvalidUrl,
    UrlParts,
    parse_hosts,
    parse_port,
    split_url,
)

_SCHEME: Final = re.compile(r"(postgres|postgresql|postgis)(\+\w+)?")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_SWITCH: Final = {  # JDBC's, node-postgres', asyncpg's
    "": "",
    **{mode: mode for mode in _SSL_MODES},
    **dict.fromkeys(("true", "1"), "verify-full"),
    **dict.fromkeys(("false", "0"), "disable"),
}
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
FILES: Final = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
# Parameters that asyncpg reads from a URL itself, with the values it knows (none: any text).
_FOR_DRIVER: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((*FILES, "sslpassword", "passfile", "service", "krbsrvname"), ()),
    "sslmode": _SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    # no replicas: access that is revoked on the primary may still be granted there
    "target_session_attrs": ("any", "primary", "read-write"),
}
# Parameters that have no effect with these values, because they ask for the behaviour anyway.
_HARMLESS: Final[Mapping[str, tuple[str, ...]]] = {
    "gssencmode": ("disable", "prefer"),
    "sslaccept": ("strict", "accept_invalid_certs"),
    "sslcertmode": ("disable", "allow"),
    "channel_binding": ("disable", "prefer", "require"),
}
# How libraries say that prepared statements do not outlive a transaction.
_UNPREPARED: Final = {
    "pgbouncer": "true",
    "prepared_statements": "false",
    "statement_cache_size": "0",
    "prepared_statement_cache_size": "0",
    "preparethreshold": "0",
}
_SEARCH_PATHS: Final = ("search_path", "schema_search_path", "currentschema")
# Timeouts, pools and names of a client: Neverstale sets its own.
_IGNORED: Final = frozenset(
    re.findall(
        r"\w+",
        """
        adapter advisory_locks application_name applicationname binary_parameters
        checkout_timeout client_encoding command_timeout conn_health_checks conn_max_age
        connect_timeout connection_limit encoding fallback_application_name idle_timeout
        keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts max
        max_connection_lifetime max_idle_connection_lifetime max_overflow max_protocol_version
        min_protocol_version pool pool_max_conn_idle_time pool_max_conn_lifetime pool_max_conns
        pool_min_conns pool_mode pool_pre_ping pool_recycle pool_size pool_timeout
        reaping_frequency socket_timeout sockettimeout sslcompression sslsni statement_limit
        tcp_keepalives tcp_user_timeout tcpkeepalive timeout uselibpqcompat
        """,
    )
)
_ADVICE: Final = (
    "remove it, or write options=-c%20<name>=<value> if it is a setting of the server"
)


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where PostgreSQL is, how to log in, and where names are looked up."""

    hosts: tuple[str, ...]  # a folder is that of a Unix socket; empty: the driver's default
    ports: tuple[int, ...]  # one for each host; empty: the default port
    user: str
    password: str = field(repr=False)
    database: str
    driver: Mapping[str, str] = field(repr=False)  # parameters that asyncpg understands
    trusts_system: bool  # the server's certificate is verified with the system's authorities
    options: str
    search_path: str  # empty: that of the role or the database
    prepares: bool
    ignored: tuple[str, ...]


def parse_database_url(text: str) -> DatabaseUrl:
    """Parse the URL. Raises ``InvalidUrl``."""
    scheme = text.strip().partition("://")[0].lower()
    if not _SCHEME.fullmatch(scheme):
        raise InvalidUrl("must start with postgresql:// or postgres://")
    parts = split_url(text)
    given = dict(parts.parameters)
    hosts, ports = _take_hosts(parts, given)
    user, password = given.pop("user", parts.user), given.pop("password", parts.password)
    database = given.pop("dbname", given.pop("database", parts.path.removeprefix("/")))
    trusts_system = _take_tls_forms(given)
    if len(hosts) > 1 and given.get("target_session_attrs", "any") == "any":
        given["target_session_attrs"] = "primary"  # the first host may be a replica
    search_path = _take_search_path(given)
    prepares = all(given.get(name, "").lower() != off for name, off in _UNPREPARED.items())
    options = given.pop("options", "")
    driver = {name: given.pop(name) for name in _FOR_DRIVER if name in given}
    for name in (*_HARMLESS, *_UNPREPARED):
        given.pop(name, None)
    ignored = tuple(sorted(given.keys() & _IGNORED))
    parts.refuse_unknown(given.keys() - _IGNORED, _ADVICE)
    return DatabaseUrl(
        hosts,
        ports,
        user,
        password,
        database,
        driver,
        trusts_system,
        options,
        search_path,
        prepares,
        ignored,
    )


def _take_hosts(
    parts: UrlParts, given: dict[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Take hosts and ports; as in libpq, parameters replace those before the path."""
    hosts: tuple[Host, ...] = parts.hosts
    ports = [port for _, port in hosts]
    if "host" in given:
        hosts = parse_hosts(given.pop("host"))
        own = [port for _, port in hosts]
        ports = own if any(own) or len(ports) != 1 else ports
    if "port" in given:
        ports = [parse_port(port) for port in given.pop("port").split(",")]
    if len(ports) == 1:
        ports *= max(len(hosts), 1)
    if not any(ports):
        ports = []
    if ports and len(ports) != max(len(hosts), 1):
        raise InvalidUrl(f"has {len(hosts)} hosts and {len(ports)} ports")
    return tuple(host for host, _ in hosts), tuple(port or 5432 for port in ports)


def _take_search_path(given: dict[str, str]) -> str:
    path = ""
    for name in _SEARCH_PATHS:
        path = given.pop(name, path)
    schema = given.pop("schema", "")  # Prisma's parameter is a single name, not a list
    return '"' + schema.replace('"', '""') + '"' if schema else path


def _take_tls_forms(given: dict[str, str]) -> bool:
    """Convert all forms of TLS parameters to libpq's, as far as asyncpg supports them.

    Return whether the system's certificate authorities are trusted.
    """
    _check_values(given)
    ssl = given.pop("ssl", "").lower()
    if ssl not in _SSL_SWITCH:
        raise InvalidUrl("has an unknown ssl: it must be true, false or an sslmode")
    ssl = _SSL_SWITCH[ssl]
    if given.get("sslaccept") == "strict":
        ssl = given["sslmode"] = "verify-full"
    if ssl and given.setdefault("sslmode", ssl) == ssl == "verify-full":
        given.setdefault("sslrootcert", "system")
    trusts_system = given.get("sslrootcert") == "system"
    if trusts_system:
        given.setdefault("sslmode", "verify-full")
    _check_tls(given, given.get("sslmode", "prefer"))
    if trusts_system:
        del given["sslrootcert"]
    return trusts_system


def _check_tls(given: Mapping[str, str], mode: str) -> None:
    if "sslcert" in given and "sslkey" not in given:
        raise InvalidUrl(
            "has an sslcert without an sslkey: name the CA's certificate by sslrootcert"
        )
    if given.get("sslrootcert") == "system" and mode != "verify-full":
        raise InvalidUrl("has sslrootcert=system, which requires sslmode=verify-full")
    if mode.startswith("verify") and "sslrootcert" not in given:
        raise InvalidUrl(
            f"has sslmode={mode}: add sslrootcert=<file of the CA's certificate>, "
            "or sslrootcert=system for a public CA"
        )
    if given.get("sslnegotiation") == "direct" and mode in _SSL_MODES[:3]:
        raise InvalidUrl(
            "has sslnegotiation=direct, which requires sslmode=require or stricter"
        )
    if given.get("channel_binding") == "require" and mode != "verify-full":
        raise InvalidUrl(
            "has channel_binding=require, which is not supported: with sslmode=verify-full "
            "(and sslrootcert=system for a public CA) the server is verified without it"
        )


def _check_values(given: dict[str, str]) -> None:
    if given.get("sslmode") == "no-verify":  # node-postgres
        given["sslmode"] = "require"
    for name, known in (*_FOR_DRIVER.items(), *_HARMLESS.items()):
        if known and given.get(name, known[0]) not in known:
            raise InvalidUrl(f"has an unknown {name}: it must be {' or '.join(known)}")
