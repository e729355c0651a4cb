"""Rules: what is wrong with a gateway, given what a client saw of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from operations.check.connection_findings import (
    REFUSED_HANDSHAKE,
    REFUSED_STREAM,
    Handshake,
    Stream,
    find_in_connections,
)
from shared.runtime.findings import Finding, note, problem

EXPIRES_SOON_DAYS: Final = 14
FOREIGN_ORIGIN: Final = "https://neverstale-check.invalid"
# for documentation (RFC 5737): no client has them
FORGED_ADDRESSES: Final = ("192.0.2.1", "198.51.100.1")
_KEYS_TODO: Final = "see `keys could not be read` in the gateway's log"
_DEGRADED: Final = {
    "keys": ("the keys of tokens could not be read lately", _KEYS_TODO),
    "database": (
        "the last access check was not answered",
        "see `access queries failed` in the gateway's log",
    ),
    "listener": (
        "no leader publishes, or it misses changes",
        "look at the listeners: their /readyz and log",
    ),
    "workers": ("a worker does not answer", "do nothing: it is being replaced"),
}


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What a client saw of a gateway at ``url``; what was not tried has its default.

    ``error``: why there was no answer at all; ``is_untrusted``: the certificate was refused.
    ``readiness``: the body of ``/readyz``; None: it was not JSON. ``shows_metrics``: whether
    ``/metrics`` is answered here. ``plain`` is a handshake without a token, ``with_token`` one
    with it. ``stream``: an event stream, with the token if there is one.
    ``allowed``: for each origin what ``Access-Control-Allow-Origin`` said.
    ``status_code``: of the status endpoint, asked with the admin key; ``addresses``: where it
    says each request came from, the last ones with forged headers; ``version``: of its program.
    """

    url: str
    error: str = ""
    is_untrusted: bool = False
    certificate_days: float | None = None
    health: int = HTTPStatus.OK
    ready: int = HTTPStatus.OK
    readiness: Mapping[str, Any] | None = field(default_factory=dict)
    shows_metrics: bool = False
    plain: Handshake = REFUSED_HANDSHAKE
    with_token: Handshake | None = None
    stream: Stream = REFUSED_STREAM
    allowed: Mapping[str, str] = field(default_factory=dict)
    status_code: int | None = None
    addresses: tuple[str | None, ...] = ()
    version: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the URL names a host of a private network, such as this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return not ip_address(host).is_global
        except ValueError:
            return "." not in host or host.endswith((".internal", ".local"))


def find_in_gateway(facts: GatewayFacts, *, version: str) -> list[Finding]:
    """Return the findings; *version* is that of this program."""
    if facts.is_untrusted:
        return [
            problem(
                "gateway.certificate",
                f"{facts.url} has a certificate that clients refuse: {facts.error}",
                "renew it, for this host name, with its intermediate certificates",
            )
        ]
    if facts.error:
        return [
            problem(
                "gateway.unreachable",
                f"{facts.url} does not answer: {facts.error}",
                "check the URL, its DNS entry, the proxy and the gateway's log",
            )
        ]
    if facts.health != HTTPStatus.OK:
        return [
            problem(
                "gateway.not_routed",
                f"{facts.url}/healthz answers with status {facts.health}",
                "make the proxy pass requests on to the gateway, with their path",
            )
        ]
    return [
        *_find_in_readiness(facts),
        *_find_in_transport(facts),
        *find_in_connections(facts.url, facts.plain, facts.with_token, facts.stream),
        *_find_in_origins(facts),
        *_find_in_addresses(facts),
        *_find_in_version(facts, version),
    ]


def _find_in_readiness(facts: GatewayFacts) -> list[Finding]:
    body = facts.readiness
    if body is None or "status" not in body:
        return []  # the proxy answers probes itself
    found = []
    reasons = []
    if body.get("redis") is False:
        reasons.append("Redis is not linked, or no listener has ever led")
    if body.get("keys") == "missing":
        reasons.append("it has no keys of tokens")
    if body.get("draining"):
        reasons.append("it is shutting down")
    if facts.ready != HTTPStatus.OK:
        found.append(
            problem(
                "gateway.not_ready",
                f"{facts.url} is not ready: {'; '.join(reasons) or 'see /readyz'}",
                "see its log",
            )
        )
    for name in body.get("degraded", ()):
        what, todo = _DEGRADED.get(name, (name, "see /readyz"))
        found.append(problem("gateway.degraded", f"{facts.url} is degraded: {what}", todo))
    return found


def _find_in_transport(facts: GatewayFacts) -> list[Finding]:
    found = []
    is_tls = urlsplit(facts.url).scheme == "https"
    if not is_tls and not facts.is_local:
        found.append(
            problem(
                "gateway.no_tls",
                f"{facts.url} uses no TLS: tokens can be read on the way",
                "end TLS at the proxy, and use https:// and wss://",
            )
        )
    days = facts.certificate_days
    if days is not None and days < EXPIRES_SOON_DAYS:
        found.append(
            note(
                "gateway.certificate_expires",
                f"the certificate of {facts.url} expires in {days:.0f} days",
                "renew it",
            )
        )
    if facts.shows_metrics and not facts.is_local:
        found.append(
            note(
                "gateway.public_metrics",
                f"{facts.url}/metrics is answered to anybody",
                "block the path at the proxy",
            )
        )
    return found


def _find_in_origins(facts: GatewayFacts) -> list[Finding]:
    found = []
    for origin, allowed in facts.allowed.items():
        if origin == FOREIGN_ORIGIN and allowed:
            found.append(
                problem(
                    "gateway.any_origin",
                    f"{facts.url} allows pages of any origin to read tickets "
                    f"(Access-Control-Allow-Origin: {allowed})",
                    "remove the header from the proxy: the gateway sends it",
                )
            )
        elif origin != FOREIGN_ORIGIN and allowed != origin:
            found.append(
                problem(
                    "gateway.origin",
                    f"{facts.url} does not allow the origin {origin}",
                    "add it to ALLOWED_ORIGINS",
                )
            )
    return found


def _find_in_addresses(facts: GatewayFacts) -> list[Finding]:
    if facts.status_code is None:
        return []
    if facts.status_code != HTTPStatus.OK:
        return [
            problem(
                "gateway.admin_key",
                f"{facts.url} answers the admin key with status {facts.status_code}",
                "set the same ADMIN_KEY here and there",
            )
        ]
    seen, *forged = facts.addresses
    if any(address != seen for address in forged) and facts.is_local:
        return [
            note(
                "gateway.trusts_this_host",
                f"{facts.url} believes this host what address a client has, as it believes its "
                "proxies",
                "check it by the URL that clients use, which shows whether the proxy "
                "overwrites the header",
            )
        ]
    if any(address != seen for address in forged):
        return [
            problem(
                "gateway.forged_address",
                f"{facts.url} takes a client's address from a header that clients can write, "
                "so they escape its limits",
                "make the proxy overwrite the header CLIENT_ADDRESS_HEADER or append to it, "
                "and let TRUSTED_PROXIES name the proxies only",
            )
        ]
    if seen is None and not facts.is_local:
        return [
            note(
                "gateway.unknown_address",
                f"{facts.url} does not know its clients' addresses: they are not limited by "
                "address",
                "set TRUSTED_PROXIES to the networks of its proxies",
            )
        ]
    return []


def _find_in_version(facts: GatewayFacts, version: str) -> list[Finding]:
    if facts.version in ("", version):
        return []
    return [
        note(
            "gateway.version",
            f"{facts.url} runs version {facts.version}, and this is {version}",
            "finish the upgrade: neighbouring versions work together",
        )
    ]
