"""The gateway's settings, and how a wrong one is reported."""

import pytest

from gateway.auth.origins import parse_rule
from gateway.limits.client_address import parse_networks
from gateway.settings import GatewaySettings
from shared.config.settings import InvalidSettings, load_settings

SETTINGS = {
    "DATABASE_URL": "postgresql://a:secret@x/db",
    "REDIS_URL": "redis://:secret@x",
    "JWT_SECRET": "s" * 32,
}


def test_settings_have_defaults_and_keep_their_secrets() -> None:
    settings = load_settings(GatewaySettings, {**SETTINGS, "PORT": "", "UNKNOWN": "x"})
    assert (settings.port, settings.replay_max_rows) == (8080, 1000)
    assert "secret@" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    "url", ["postgresql:///app", "postgres://a:b%2Fc@h1:1,h2:2,[::1]:3/db?sslmode=require"]
)
def test_unambiguous_urls_are_accepted(url: str) -> None:
    settings = load_settings(GatewaySettings, {**SETTINGS, "DATABASE_URL": url})
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("changes", "problem_text"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is required"),
        ({"DATABASE_URL": "mysql://x"}, "must start with postgresql:// or postgres://"),
        ({"DATABASE_URL": "postgresql://u:pa/secret@h/d"}, "percent-encode special characters"),
        ({"DATABASE_URL": "postgresql://u:12/secret@h/d"}, "percent-encode special characters"),
        ({"REDIS_URL": "redis://[secret"}, "percent-encode special characters"),
        ({"REDIS_URL": "redis://h:secret"}, "percent-encode special characters"),
        ({"PORT": "no"}, "PORT must be a whole number"),
        ({"PORT": "70000"}, "PORT must be at most 65535"),
        ({"REPLAY_MAX_ROWS": "0"}, "REPLAY_MAX_ROWS must be at least 1"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be 'auto', 'json' or 'console'"),
        ({"JWT_SECRET": "short-and-secret"}, "JWT_SECRET must have at least 32 bytes"),
        ({"JWT_SECRET": ""}, "JWT_SECRET or JWT_PUBLIC_KEY, JWT_KEYS_FILE, JWT_JWKS_URL"),
        ({"JWT_SECRET": ""}, "exactly one must be set, not none"),
        ({"JWT_KEYS_FILE": "x"}, "set, not JWT_SECRET and JWT_KEYS_FILE"),
        (
            {"JWT_SECRET": "", "JWT_KEYS_FILE": "x", "JWT_JWKS_URL": "https://x"},
            "set, not JWT_KEYS_FILE and JWT_JWKS_URL",
        ),
        ({"JWT_SECRET": "", "JWT_PUBLIC_KEY": "secret"}, "JWT_PUBLIC_KEY must be a public key"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "http://secret.x"}, "must start with https://"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "https://[secret"}, "JWT_JWKS_URL must be a URL"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "secret"}, "must start with https://"),
        ({"JWT_ALGORITHMS": "HS256,none"}, "JWT_ALGORITHMS must be 'HS256', 'HS384',"),
        ({"JWT_LEEWAY_SECONDS": "301"}, "must be at most 300"),
        ({"JWT_JWKS_REFRESH_SECONDS": "0"}, "must be at least 1"),
        ({"ALLOWED_ORIGINS": "a.test, *"}, "ALLOWED_ORIGINS must be hosts as in"),
        ({"ADMIN_KEY": "short-and-secret"}, "ADMIN_KEY must have at least 32 bytes"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, secret"}, "must be addresses or networks as in"),
        ({"MAX_SOCKETS": "-1"}, "MAX_SOCKETS must be at least 0"),
        ({"MAX_MESSAGE_BYTES": "0"}, "MAX_MESSAGE_BYTES must be at least 1024"),
        ({"ALLOW_QUERY_TOKEN": "maybe"}, "ALLOW_QUERY_TOKEN must be true or false"),
    ],
)
def test_a_wrong_setting_is_reported_without_its_value(
    changes: dict[str, str], problem_text: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(GatewaySettings, {**SETTINGS, **changes})
    [problem] = refused.value.problems
    assert problem_text in problem
    assert "secret" not in problem.replace("the secret of", "")


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://id.test/jwks", {}),
        ("http://localhost:8000/jwks", {}),
        ("http://127.0.0.1/jwks", {}),
        ("http://[::1]:80/jwks", {}),
        ("http://id/jwks", {"JWT_JWKS_ALLOW_HTTP": "true"}),
    ],
)
def test_keys_are_fetched_over_https_or_from_the_same_host(
    url: str, more: dict[str, str]
) -> None:
    changes = {"JWT_SECRET": "", "JWT_JWKS_URL": url, **more}
    settings = load_settings(GatewaySettings, {**SETTINGS, **changes})
    assert settings.jwt_jwks_url is not None
    assert url not in repr(settings)


def test_lists_are_separated_by_commas() -> None:
    settings = load_settings(
        GatewaySettings,
        {
            **SETTINGS,
            "JWT_ALGORITHMS": "HS256, HS512",
            "ALLOWED_ORIGINS": "a.test,*.b.test",
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
        },
    )
    assert settings.trusted_proxies == parse_networks(["10.0.0.0/8", "::1"])
    assert settings.jwt_algorithms == ("HS256", "HS512")
    assert settings.allowed_origins == (parse_rule("a.test"), parse_rule("*.b.test"))
