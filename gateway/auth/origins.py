"""Which origins may authenticate by cookie: that of the same host, and those that are allowed.

A browser sends cookies with a WebSocket handshake from a page of any origin, and CORS does not
apply: the server has to check ``Origin`` (RFC 6455, section 10.2).
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
    """An origin (RFC 6454, section 6.2) in lower case, with the default port of http or https
    filled in.
    """

    scheme: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class OriginRule:
    """Allowed origins: those of one host or, with *has_subdomains*, of all its subdomains.

    Without a scheme: http and https. Without a port: the scheme's default port.
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
    """Parse a rule: ``app.example.com``, ``*.example.com`` or ``https://app.example.com:8443``.

    Raises:
        ValueError: it has none of these forms.
    """
    parts = _split(text)
    if parts is None:
        raise ValueError("must be hosts as in app.example.com, *.example.com or https://x:8443")
    return OriginRule(*parts)


def parse_origin(text: str) -> Origin | None:
    """Return the origin, or None for ``null`` and all else that has no host."""
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
    """Return whether a page of this ``Origin`` may use cookies at this ``Host``.

    Either a rule allows the origin, or the origin has the host and port of the request and its
    scheme is https, or http if the request is not known to have used TLS (*is_tls*).
    """
    page = parse_origin(origin)
    if page is None:
        return False
    if any(rule.allows(page) for rule in rules):
        return True
    schemes = ("https",) if is_tls else ("https", "http")
    return page.scheme in schemes and page == parse_origin(f"{page.scheme}://{host}")


def came_by_tls(forwarded_proto: Sequence[str]) -> bool:
    """Return whether the client used TLS according to ``X-Forwarded-Proto``.

    Of several values the first counts, that of the outermost proxy. The header is trusted from
    any peer: a page cannot set it, and "https" only makes the rule stricter.
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
