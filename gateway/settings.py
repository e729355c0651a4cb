"""The settings of the gateway."""

import os
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator
from pydantic_core.core_schema import ValidationInfo

from gateway.auth.key_set import Algorithm, parse_public_key, parse_secret
from gateway.auth.origins import OriginRule, parse_rule
from gateway.limits.client_address import Network, parse_networks
from shared.config.settings import Port, Settings

_KEYS: Final = ("jwt_secret", "jwt_public_key", "jwt_keys_file", "jwt_jwks_url")
MIN_ADMIN_KEY_BYTES: Final = 32
MAX_WORKERS: Final = 64
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def _split(words: Any) -> Any:
    return words.replace(",", " ").split() if isinstance(words, str) else words


def _usable_secret(secret: SecretStr) -> SecretStr:
    parse_secret(secret.get_secret_value())
    return secret


def _long_enough(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value().encode()) < MIN_ADMIN_KEY_BYTES:
        raise ValueError(f"must have at least {MIN_ADMIN_KEY_BYTES} bytes")
    return key


def _networks(words: Any) -> Any:
    return parse_networks(_split(words)) if isinstance(words, str) else words


def _usable_cores(count: Any) -> Any:
    """The number of cores that this process may use, for ``auto``."""
    if count != "auto":
        return count
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _usable_public_key(pem: str) -> str:
    parse_public_key(pem)
    return pem


class GatewaySettings(Settings):
    """Settings of ``python -m gateway``."""

    host: str = Field("0.0.0.0", description="address to serve on")  # noqa: S104 it serves the world
    port: Port = Field(8080, description="port to serve on")
    workers: Annotated[int, BeforeValidator(_usable_cores)] = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="processes that share the port and its sockets; auto: one for each core",
    )
    jwt_public_key: Annotated[str, AfterValidator(_usable_public_key)] | None = Field(
        None, description="public key in PEM, of tokens signed by RS256, ES256 or EdDSA"
    )
    jwt_keys_file: Path | None = Field(
        None,
        description="a file with a JWK set: several keys, by kid; read again when it changes",
    )
    jwt_jwks_allow_http: bool = Field(
        default=False,
        description="allow http:// in JWT_JWKS_URL for other hosts than localhost",
    )
    jwt_jwks_url: SecretStr | None = Field(
        None, description="https:// address of a JWK set of public keys"
    )
    jwt_jwks_refresh_seconds: int = Field(
        300, ge=1, description="how often the JWK set at JWT_JWKS_URL is read"
    )
    jwt_secret: Annotated[SecretStr, AfterValidator(_usable_secret)] | None = Field(
        None,
        validate_default=True,
        description=(
            "the secret of HMAC-signed tokens, at least 32 bytes; "
            "exactly one of this, JWT_PUBLIC_KEY, JWT_KEYS_FILE, JWT_JWKS_URL must be set"
        ),
    )
    jwt_algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(_split)] | None = Field(
        None,
        description="only these algorithms, separated by commas; unset: all that fit the key",
    )
    jwt_issuer: str | None = Field(None, description="the `iss` that tokens must have")
    jwt_audience: str | None = Field(None, description="the `aud` that tokens must have")
    jwt_user_claim: str = Field("sub", description="the claim that holds the user's id")
    jwt_leeway_seconds: int = Field(
        5,
        ge=0,
        le=300,
        description="how far the issuer's clock may differ, for `exp`, `nbf`, `iat`",
    )
    allowed_origins: tuple[OriginRule, ...] = Field(
        (),
        description=(
            "further origins whose pages may use the cookie and CORS, separated by commas"
        ),
    )
    allow_query_token: bool = Field(
        default=False, description="accept a token in ?token=, too, where proxies may log it"
    )
    admin_key: Annotated[SecretStr, AfterValidator(_long_enough)] | None = Field(
        None,
        description="key of the admin API, at least 32 bytes; unset: there is no admin API",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(
        (),
        description="networks of proxies that name the client's address, separated by commas",
    )
    client_address_header: str = Field(
        "X-Forwarded-For", description="header in which these proxies name the client's address"
    )
    max_sockets: int = Field(20_000, ge=0, description="sockets of this process; 0: no limit")
    max_sockets_per_address: int = Field(
        1000,
        ge=0,
        description="sockets of one client address, and as many other connections; 0: no limit",
    )
    max_sockets_per_user: int = Field(
        50, ge=0, description="sockets of one user in this process; 0: no limit"
    )
    max_projects_per_socket: int = Field(
        100, ge=0, description="projects that one socket may subscribe to; 0: no limit"
    )
    max_failed_authentications: int = Field(
        100,
        ge=0,
        description="bad tokens that an address may send in a minute; 0: no limit",
    )
    max_message_bytes: int = Field(
        65_536, ge=1024, le=2**24, description="size of a message that a client may send"
    )
    max_messages_per_second: float = Field(
        20,
        ge=0,
        description="cost per second of what a client sends; a frame costs 1; 0: no limit",
    )
    max_http_connections: int = Field(
        4096, ge=0, description="connections that are not WebSockets; 0: no limit"
    )
    handshake_seconds: float = Field(
        10, ge=0, description="time for a whole request to arrive; 0: no limit"
    )
    drain_seconds: float = Field(
        20, ge=0, le=280, description="longest time over which sockets are closed at SIGTERM"
    )
    slow_client_seconds: float = Field(
        30, gt=0, description="how long a slow consumer may take to drain"
    )
    reset_spread_seconds: float = Field(
        2,
        ge=0,
        description="time over which a reset is spread, for each 1,000 sockets (at most 30)",
    )

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_safe(cls, url: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
        except ValueError:
            raise ValueError("must be a URL") from None
        may_be_plain = parts.hostname in _LOOPBACK or info.data.get("jwt_jwks_allow_http")
        schemes = ("https", "http") if may_be_plain else ("https",)
        if not parts.hostname or parts.scheme not in schemes:
            raise ValueError("must start with https:// (http:// only on localhost)")
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _is_the_only_key(
        cls, secret: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        given = {**info.data, "jwt_secret": secret}
        # a setting that is missing in info.data was given, and was invalid
        names = [name.upper() for name in _KEYS if given.get(name, "") is not None]
        if len(names) != 1:
            found = " and ".join(names) or "none"
            raise ValueError(
                "or JWT_PUBLIC_KEY, JWT_KEYS_FILE, JWT_JWKS_URL: exactly one must be set, "
                f"not {found}"
            )
        return secret

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _parse_origins(cls, words: Any) -> Any:
        return tuple(map(parse_rule, _split(words))) if isinstance(words, str) else words
