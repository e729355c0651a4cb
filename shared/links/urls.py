"""Splits a connection URL of PostgreSQL or Redis into its parts.

No message repeats a value, which may be a password or a part of one that was not encoded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote

_UNREADABLE: Final = (
    "is not a URL: percent-encode special characters in the password (/ is %2F, @ is %40)"
)
# RFC 3986, appendix B, without a fragment: that would be part of a password with a bare #.
_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.I)
_HOST: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{0,5}))?")
_SECRETS: Final = frozenset({"password", "sslpassword", "ssl_password"})

Host = tuple[str, int | None]


class InvalidUrl(ValueError):
    """The URL is invalid; the text says why, and what to write."""


@dataclass(frozen=True, slots=True)
class UrlParts:
    """A decoded URL. Missing parts are empty; parameters with an empty value are left out."""

    scheme: str
    user: str
    password: str = field(repr=False)
    hosts: tuple[Host, ...]
    path: str
    parameters: dict[str, str] = field(repr=False)  # by lower-case name

    def refuse_unknown(self, names: Iterable[str], advice: str) -> None:
        """Raise ``InvalidUrl`` for the first of *names*, which are unknown parameters."""
        for name in sorted(names):
            # the rest of a password after an unencoded & looks like a parameter
            is_safe = _SECRETS.isdisjoint(self.parameters) and re.fullmatch(r"\w{1,60}", name)
            what = f"the parameter {name}, which" if is_safe else "a parameter that"
            raise InvalidUrl(f"has {what} is not supported: {advice}")


def split_url(text: str) -> UrlParts:
    """Split a URL into its parts. Raises ``InvalidUrl``."""
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise InvalidUrl(_UNREADABLE)
    scheme, authority, path, query = match.groups(default="")
    if "@" in path + query:  # part of a password with a bare / or ?
        raise InvalidUrl(_UNREADABLE)
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    return UrlParts(
        scheme.lower(),
        _decode(user),
        _decode(password),
        tuple((_decode(host), port) for host, port in parse_hosts(hosts)) if hosts else (),
        _decode(path),
        _parse_parameters(query),
    )


def parse_hosts(text: str) -> tuple[Host, ...]:
    """Parse hosts, or folders of Unix sockets, separated by commas. Raises ``InvalidUrl``."""
    return tuple(map(_parse_host, text.split(",")))


def parse_port(text: str) -> int:
    """Parse a port. Raises ``InvalidUrl``."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise InvalidUrl("has a port that is not a number from 1 to 65535")
    return int(text)


def _parse_host(text: str) -> Host:
    if text.startswith("/"):
        return text, None
    match = _HOST.fullmatch(text)
    if match is None:
        raise InvalidUrl(_UNREADABLE)
    literal, name, port = match.groups(default="")
    if literal:
        try:
            ip_address(literal)
        except ValueError:
            raise InvalidUrl(_UNREADABLE) from None
    return literal or name, parse_port(port) if port else None


def _parse_parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for field_ in filter(None, query.split("&")):
        name, separator, value = field_.replace("+", " ").partition("=")
        name, value = _decode(name).lower(), _decode(value)
        if not separator:
            raise InvalidUrl("has a parameter without a value: write & as %26 in a value")
        if name == "host" and name in parameters:  # SQLAlchemy's form of several hosts
            value = f"{parameters[name]},{value}"
        elif name in parameters:
            raise InvalidUrl("has a parameter twice: write each once")
        if value:
            parameters[name] = value
    return parameters


def _decode(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidUrl(_UNREADABLE) from None
