"""Parses ``REDIS_URL`` in the forms that Redis libraries write."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from shared.links.urls import InvalidUrl, UrlParts, split_url

_TCP: Final = frozenset({"redis", "valkey"})
_TLS: Final = frozenset({"rediss", "valkeys", "redis+tls", "redis+ssl"})
_UNIX: Final = frozenset({"unix", "redis+unix", "redis+socket"})
_SENTINEL: Final = {"redis+sentinel": _TCP, "rediss+sentinel": _TLS}
FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_TEXTS: Final = frozenset(
    {*FILES, "ssl_ca_path", "ssl_ca_data", "ssl_password", "ssl_ciphers"}
)
# Celery writes CERT_NONE. Versions are numbers of the TLS protocol: 1.2 and 1.3.
_REQUIREMENTS: Final = ("none", "optional", "required")
_TLS_CHOICES: Final[Mapping[str, Mapping[str, str | bool | int]]] = {
    "ssl_cert_reqs": {
        **{name: name for name in _REQUIREMENTS},
        **{f"cert_{name}": name for name in _REQUIREMENTS},
    },
    "ssl_check_hostname": {
        **dict.fromkeys(("true", "yes", "1"), True),
        **dict.fromkeys(("false", "no", "0"), False),
    },
    "ssl_min_version": {"771": 771, "772": 772},
}
_ADVICE: Final = "remove it"
# Timeouts, pools and decoding of a client: Neverstale's guarantees depend on its own.
_IGNORED: Final = frozenset(
    re.findall(
        r"\w+",
        """
        client_name commandtimeout connect_timeout connecttimeout connection_limit
        decode_responses encoding encoding_errors family health_check_interval keepalive
        legacy_responses lib_name lib_version max_connections maxretriesperrequest pool_size
        pool_timeout protocol retry_on_error retry_on_timeout single_connection_client
        socket_connect_timeout socket_keepalive socket_read_size socket_timeout timeout
        """,
    )
)


@dataclass(frozen=True, slots=True)
class Sentinel:
    """The name of a primary that sentinels watch, and how to log in to them."""

    name: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is, and how to log in.

    ``hosts`` are nodes of a cluster, of which one is enough, or sentinels, which know the
    primary of that name.
    """

    hosts: tuple[tuple[str, int], ...]
    socket: str  # the path of a Unix socket, instead of hosts
    database: int
    user: str
    password: str = field(repr=False)
    tls: Mapping[str, str | bool | int] | None = field(repr=False)  # as redis-py names it
    ignored: tuple[str, ...]
    sentinel: "Sentinel | None" = None

    @property
    def host(self) -> str:
        return self.hosts[0][0]

    @property
    def port(self) -> int:
        return self.hosts[0][1]

    def at(self, host: str, port: int) -> "RedisUrl":
        """The same login at one address."""
        return replace(self, hosts=((host, port),), sentinel=None)

    @property
    def login(self) -> tuple[str, ...]:
        """The arguments of AUTH; empty without a password."""
        if self.user:
            return self.user, self.password
        return (self.password,) if self.password else ()


def parse_redis_url(text: str) -> RedisUrl:
    """Parse the URL. Raises ``InvalidUrl``."""
    scheme, separator, _ = text.strip().partition("://")
    if not separator or scheme.lower() not in _TCP | _TLS | _UNIX | _SENTINEL.keys():
        raise InvalidUrl("must start with redis:// or rediss:// or unix://")
    parts = split_url(text)
    given = dict(parts.parameters)
    is_unix = parts.scheme in _UNIX
    if is_unix and (parts.hosts or not parts.path.strip("/")):
        raise InvalidUrl("must name its socket by an absolute path: unix:///run/redis.sock")
    sentinel, path = _take_sentinel(parts, given)
    port = 6379 if sentinel is None else 26379
    hosts = tuple((host, own or port) for host, own in parts.hosts or (("localhost", None),))
    database = given.pop("db", "" if is_unix else path)
    if not re.fullmatch(r"[0-9]{0,9}", database):
        raise InvalidUrl("must name its database by a number: redis://host:6379/0")
    user, password = given.pop("username", parts.user), given.pop("password", parts.password)
    tls = _take_tls(parts, given)
    ignored = tuple(sorted(given.keys() & _IGNORED))
    parts.refuse_unknown(given.keys() - _IGNORED, _ADVICE)
    return RedisUrl(
        hosts,
        parts.path if is_unix else "",
        int(database or 0),
        user,
        password,
        tls,
        ignored,
        sentinel,
    )


def check_hosts(text: str, *, is_cluster: bool) -> None:
    """Check that the URL fits one server, sentinels or a cluster. Raises ``InvalidUrl``."""
    target = parse_redis_url(text)
    if not is_cluster:
        if len(target.hosts) > 1 and target.sentinel is None:
            raise InvalidUrl(
                "must be true if REDIS_URL names several hosts, as nodes of a cluster"
            )
    elif target.socket or target.sentinel or target.database:
        raise InvalidUrl("needs a REDIS_URL without socket, sentinels and database")


def _take_sentinel(parts: UrlParts, given: dict[str, str]) -> tuple[Sentinel | None, str]:
    """Take what concerns sentinels; return it, and the path without slashes and their name."""
    path = parts.path.strip("/")
    if parts.scheme not in _SENTINEL:
        return None, path
    name, _, path = path.partition("/")
    if not name:
        raise InvalidUrl(
            "must name its primary behind the sentinels: redis+sentinel://host:26379/name"
        )
    user = given.pop("sentinel_username", "")
    return Sentinel(name, user, given.pop("sentinel_password", "")), path


def _take_tls(parts: UrlParts, given: dict[str, str]) -> Mapping[str, str | bool | int] | None:
    """Take the parameters of TLS out of *given*; None without TLS."""
    named = {name: given.pop(name) for name in list(given) if name.startswith("ssl_")}
    if _SENTINEL.get(parts.scheme, {parts.scheme}).isdisjoint(_TLS):
        if named:
            raise InvalidUrl("has parameters of TLS (ssl_...), which require rediss://")
        return None
    parts.refuse_unknown(named.keys() - _TLS_TEXTS - _TLS_CHOICES.keys(), _ADVICE)
    if "ssl_keyfile" in named and "ssl_certfile" not in named:
        raise InvalidUrl("has an ssl_keyfile without an ssl_certfile")
    texts = {name: value for name, value in named.items() if name in _TLS_TEXTS}
    chosen = {name: _choose(name, value) for name, value in named.items() if name not in texts}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **texts, **chosen}


def _choose(name: str, value: str) -> str | bool | int:
    choices = _TLS_CHOICES[name]
    if value.lower() not in choices:
        raise InvalidUrl(f"has an unknown {name}: it must be {' or '.join(choices)}")
    return choices[value.lower()]
