"""What is said of each thing that a client sees of a gateway."""

import pytest

from operations.check.connection_findings import Handshake, Stream
from operations.check.gateway_findings import (
    FOREIGN_ORIGIN,
    GatewayFacts,
    find_in_gateway,
)

VERSION = "1.0.0"
PUBLIC = "https://rt.example.com"
APP = "https://app.example.com"
READY = {"status": "ready", "redis": True, "keys": "ok", "draining": False, "degraded": []}


@pytest.mark.parametrize(
    "fine",
    [
        GatewayFacts(PUBLIC, readiness=READY),
        GatewayFacts(PUBLIC, readiness=None),
        GatewayFacts(PUBLIC, certificate_days=60),
        GatewayFacts("http://127.0.0.1:8080", shows_metrics=True),
        GatewayFacts("http://gateway:8080"),
        GatewayFacts("http://gateway.internal", status_code=200, addresses=(None, None)),
        GatewayFacts(PUBLIC, allowed={APP: APP, FOREIGN_ORIGIN: ""}),
        GatewayFacts(PUBLIC, status_code=200, addresses=("a", "a", "a"), version=VERSION),
    ],
)
def test_what_is_documented_has_no_findings(fine: GatewayFacts) -> None:
    assert find_in_gateway(fine, version=VERSION) == []


@pytest.mark.parametrize(
    ("wrong", "id_", "severity", "text"),
    [
        (
            GatewayFacts(PUBLIC, "expired", is_untrusted=True),
            "certificate",
            "problem",
            "expired",
        ),
        (GatewayFacts(PUBLIC, "no route"), "unreachable", "problem", "no route"),
        (GatewayFacts(PUBLIC, health=404), "not_routed", "problem", "status 404"),
        (
            GatewayFacts(
                PUBLIC, ready=503, readiness={**READY, "redis": False, "draining": True}
            ),
            "not_ready",
            "problem",
            "no listener has ever led; it is shutting down",
        ),
        (
            GatewayFacts(PUBLIC, ready=503, readiness={**READY, "keys": "missing"}),
            "not_ready",
            "problem",
            "no keys",
        ),
        (GatewayFacts(PUBLIC, ready=503, readiness=READY), "not_ready", "problem", "/readyz"),
        *(
            (
                GatewayFacts(PUBLIC, readiness={**READY, "degraded": [name]}),
                "degraded",
                "problem",
                text,
            )
            for name, text in (
                ("keys", "could not be read"),
                ("database", "access check"),
                ("listener", "no leader"),
                ("workers", "worker"),
                ("another", "another"),
            )
        ),
        (GatewayFacts("http://rt.example.com"), "no_tls", "problem", "no TLS"),
        (GatewayFacts("http://8.8.8.8"), "no_tls", "problem", "no TLS"),
        (GatewayFacts(PUBLIC, certificate_days=3), "certificate_expires", "note", "3 days"),
        (GatewayFacts(PUBLIC, shows_metrics=True), "public_metrics", "note", "/metrics"),
        (GatewayFacts(PUBLIC, plain=Handshake(426)), "upgrade", "problem", "status 426"),
        (GatewayFacts(PUBLIC, stream=Stream(404)), "sse", "problem", "status 404"),
        (GatewayFacts(PUBLIC, allowed={FOREIGN_ORIGIN: "*"}), "any_origin", "problem", "*"),
        (GatewayFacts(PUBLIC, allowed={APP: ""}), "origin", "problem", "ALLOWED_ORIGINS"),
        (GatewayFacts(PUBLIC, status_code=401), "admin_key", "problem", "ADMIN_KEY"),
        (
            GatewayFacts(PUBLIC, status_code=200, addresses=("a", "b", "c")),
            "forged_address",
            "problem",
            "overwrite",
        ),
        (
            GatewayFacts("http://10.0.0.1", status_code=200, addresses=("a", "b", "c")),
            "trusts_this_host",
            "note",
            "by the URL that clients use",
        ),
        (
            GatewayFacts(PUBLIC, status_code=200, addresses=(None, None)),
            "unknown_address",
            "note",
            "TRUSTED_PROXIES",
        ),
        (GatewayFacts(PUBLIC, version="0.9.0"), "version", "note", "0.9.0"),
    ],
)
def test_each_fact_is_a_finding(
    wrong: GatewayFacts, id_: str, severity: str, text: str
) -> None:
    [found] = find_in_gateway(wrong, version=VERSION)
    assert (found.id, found.severity) == (f"gateway.{id_}", severity)
    assert text in found.text
    assert wrong.url in found.what
    assert found.todo
