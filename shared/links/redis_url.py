"""Parses ``REDIS_URL`` in the forms that Redis libraries write."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from shared.links.urls import InvalidUrl, UrlParts, split_url

_TCP: Final = frozenset({"redis", "valkey"})
_TLS: Final = frozenset({"rediss", "valkeys", "redis+tls", "redis+ssl"})
_UNIX: Final = frozenset({"unix", "redis+unix", "redis+socket"})
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
class RedisUrl:
    """Where Redis is, and how to log in."""

    host: str
    port: int
    socket: str  # the path of a Unix socket, instead of host and port
    database: int
    user: str
    password: str = field(repr=False)
    tls: Mapping[str, str | bool | int] | None = field(repr=False)  # as redis-py names it
    ignored: tuple[str, ...]

    @property
    def login(self) -> tuple[str, ...]:
        """The arguments of AUTH; empty without a password."""
        if self.user:
            return self.user, self.password
        return (self.password,) if self.password else ()


def parse_redis_url(text: str) -> RedisUrl:
    """Parse the URL. Raises ``InvalidUrl``."""
    scheme, separator, _ = text.strip().partition("://")
    if not separator or scheme.lower() not in _TCP | _TLS | _UNIX:
        raise InvalidUrl("must start with redis:// or rediss:// or unix://")
    parts = split_url(text)
    given = dict(parts.parameters)
    is_unix = parts.scheme in _UNIX
    if is_unix and (parts.hosts or not parts.path.strip("/")):
        raise InvalidUrl("must name its socket by an absolute path: unix:///run/redis.sock")
    if len(parts.hosts) > 1:
        raise InvalidUrl("must name one host: neither a cluster's nodes nor sentinels")
    [(host, port)] = parts.hosts or (("localhost", None),)
    database = given.pop("db", "" if is_unix else parts.path.strip("/"))
    if not re.fullmatch(r"[0-9]{0,9}", database):
        raise InvalidUrl("must name its database by a number: redis://host:6379/0")
    user, password = given.pop("username", parts.user), given.pop("password", parts.password)
    tls = _take_tls(parts, given)
    ignored = tuple(sorted(given.keys() & _IGNORED))
    parts.refuse_unknown(given.keys() - _IGNORED, _ADVICE)
    return RedisUrl(
        host,
        port or 6379,
        parts.path if is_unix else "",
        int(database or 0),
        user,
        password,
        tls,
        ignored,
    )


def _take_tls(parts: UrlParts, given: dict[str, str]) -> Mapping[str, str | bool | int] | None:
    """Take the parameters of TLS out of *given*; None without TLS."""
    named = {name: given.pop(name) for name in list(given) if name.startswith("ssl_")}
    if parts.scheme not in _TLS:
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
