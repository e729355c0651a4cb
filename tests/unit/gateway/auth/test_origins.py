import pytest

from gateway.auth.origins import is_origin_allowed, parse_origin, parse_rule


@pytest.mark.parametrize(
    ("origin", "host", "rules", "allowed"),
    [
        ("https://app.test", "app.test", "", True),
        ("http://app.test", "app.test", "", True),
        ("https://APP.test", "app.TEST", "", True),
        ("https://app.test", "app.test:443", "", True),
        ("https://app.test:443", "app.test", "", True),
        ("http://app.test:80", "app.test", "", True),
        ("http://app.test:8080", "app.test:8080", "", True),
        ("http://app.test:8080", "app.test:8081", "", False),
        ("http://app.test", "app.test:443", "", False),
        ("https://app.test", "other.test", "", False),
        ("https://app.test.evil.test", "app.test", "", False),
        ("https://evil-app.test", "app.test", "", False),
        ("http://[::1]:3000", "[::1]:3000", "", True),
        ("http://[0:0::1]", "[::1]", "", True),
        ("http://[::2]", "[::1]", "", False),
        ("http://[:::]", "[:::]", "", False),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", "", True),
        ("null", "app.test", "*.test", False),
        ("null", "null", "null", False),
        ("", "app.test", "", False),
        ("app.test", "app.test", "", False),
        ("https://", "", "", False),
        ("https://app.test/", "app.test", "", False),
        ("https://app.test", "app.test/", "", False),
        ("https://app.test@evil.test", "app.test", "", False),
        ("https://app.test:0", "app.test:0", "", False),
        ("https://app.test:65536", "app.test:65536", "", False),
        ("https://app.test\n", "app.test", "", False),
        ("https://\u00e4pp.test", "\u00e4pp.test", "", False),
        ("https://*.test", "*.test", "", False),
        ("https://a.test https://app.test", "app.test", "", False),
        ("https://a.test", "app.test", "a.test", True),
        ("http://a.test", "app.test", "a.test", True),
        ("https://a.test:8443", "app.test", "a.test", False),
        ("https://a.test:8443", "app.test", "a.test:8443", True),
        ("http://a.test", "app.test", "https://a.test", False),
        ("https://a.test", "app.test", "https://a.test", True),
        ("https://b.a.test", "app.test", "a.test", False),
        ("https://b.a.test", "app.test", "x.test, *.A.test", True),
        ("https://c.b.a.test", "app.test", "*.a.test", True),
        ("https://a.test", "app.test", "*.a.test", False),
        ("https://evila.test", "app.test", "*.a.test", False),
        ("https://b.a.test", "app.test", "https://*.a.test:443", True),
        ("ftp://a.test", "app.test", "a.test", False),
        ("capacitor://localhost", "app.test", "capacitor://localhost", True),
    ],
)
def test_an_origin_is_the_same_host_or_one_that_is_allowed(
    origin: str, host: str, rules: str, allowed: bool
) -> None:
    parsed = [parse_rule(rule.strip()) for rule in rules.split(",") if rule]
    assert is_origin_allowed(origin, host, parsed, is_tls=False) is allowed


@pytest.mark.parametrize("rule", ["", "*", "*.", "https://", "a.test/x", "a.*.test", "a b"])
def test_what_names_no_host_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match="must be hosts"):
        parse_rule(rule)
    assert parse_origin(rule) is None
