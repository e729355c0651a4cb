"""Which pages may speak for their user by cookie: same host, or allowed.

A browser sends cookies with a WebSocket handshake whatever page opens it, and no CORS stops
it: the server has to look at ``Origin`` (RFC 6455, section 10.2).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

_PARTS: Final = re.compile(
    r"(?:([a-z][a-z0-9+.-]*)://)?(\*\.)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?",
    re.ASCII,
)
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin (RFC 6454, section 6.2), lower case; a known scheme's default port is filled
    in.
    """

    scheme: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class OriginRule:
    """Origins that are allowed: a host or (*has_subdomains*) all hosts below it.

    Without a scheme: http and https. Without a port: the scheme's own.
    """

    scheme: str | None
    has_subdomains: bool
    host: str
    port: int | None

    def allows(self, origin: Origin) -> bool:
        if self.scheme != origin.scheme and (self.scheme or origin.scheme not in _PORTS):
            return False
        if origin.port != (self.port or _PORTS.get(origin.scheme)):
            return False
        if self.has_subdomains:
            return origin.host.endswith(f".{self.host}")
        return origin.host == self.host


def parse_rule(text: str) -> OriginRule:
    """One of ``app.example.com``, ``*.example.com``, ``https://app.example.com:8443``.

    Raises:
        ValueError: it is none of these.
    """
    parts = _split(text)
    if parts is None:
        raise ValueError("must be hosts as in app.example.com, *.example.com or https://x:8443")
    return OriginRule(*parts)


def parse_origin(text: str) -> Origin | None:
    """The origin, or None for ``null`` and whatever else names no host."""
    parts = _split(text)
    if parts is None:
        return None
    scheme, is_wildcard, host, port = parts
    if scheme is None or is_wildcard:
        return None
    return Origin(scheme, host, port or _PORTS.get(scheme))


def is_origin_allowed(
    origin: str, host: str, rules: Iterable[OriginRule], *, is_tls: bool
) -> bool:
    """Whether a page of this ``Origin`` may use its cookies at this ``Host``.

    Either a rule allows the origin, or both have the same host and port, and the page's scheme
    is https, or is http and the request is not known to have come by TLS (*is_tls*).
    """
    page = parse_origin(origin)
    if page is None:
        return False
    if any(rule.allows(page) for rule in rules):
        return True
    schemes = ("https",) if is_tls else ("https", "http")
    return page.scheme in schemes and page == parse_origin(f"{page.scheme}://{host}")


def came_by_tls(forwarded_proto: Sequence[str]) -> bool:
    """Whether ``X-Forwarded-Proto`` says that the client used TLS; of several the first counts,
    which is the outermost proxy's.

    It counts from any peer: a page cannot set it, and "https" only makes the rule stricter.
    """
    first = forwarded_proto[0].partition(",")[0] if forwarded_proto else ""
    return first.strip().lower() in ("https", "wss")


def _split(text: str) -> tuple[str | None, bool, str, int | None] | None:
    parts = _PARTS.fullmatch(text.lower()) if text.isascii() else None
    if parts is None:
        return None
    scheme, wildcard, host, port = parts.groups()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    if port is not None and not 0 < int(port) < 65536:
        return None
    return scheme, wildcard is not None, host, None if port is None else int(port)
