"""Open the source of token keys that the settings name."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.auth.key_set import (
    ALGORITHMS,
    InvalidKeys,
    parse_jwks,
    parse_public_key,
    parse_secret,
)
from gateway.auth.key_sources import (
    FILE_REFRESH_SECONDS,
    URL_REST_SECONDS,
    DocumentKeys,
    DocumentUnavailable,
    FixedKeys,
    KeySource,
    fetch_url,
    read_file,
)
from gateway.settings import GatewaySettings
from shared.config.settings import InvalidSettings


def open_key_source(settings: GatewaySettings) -> KeySource:
    """Return the source. A file is read at once, a URL when the source runs.

    Raises:
        InvalidSettings: there is no usable key.
    """
    allowed = settings.jwt_algorithms or ALGORITHMS
    if settings.jwt_jwks_url is not None:
        url = settings.jwt_jwks_url.get_secret_value()
        return DocumentKeys(
            lambda: fetch_url(url),
            lambda document: parse_jwks(document, allowed, is_public=True),
            keys=None,
            refresh_seconds=settings.jwt_jwks_refresh_seconds,
            rest_seconds=min(URL_REST_SECONDS, settings.jwt_jwks_refresh_seconds),
        )
    path = settings.jwt_keys_file
    if path is not None:
        with _naming_setting(f"JWT_KEYS_FILE: {path}"):
            keys = parse_jwks(read_file(path), allowed)
        return DocumentKeys(
            lambda: asyncio.to_thread(read_file, path),
            lambda document: parse_jwks(document, allowed),
            keys=keys,
            refresh_seconds=FILE_REFRESH_SECONDS,
            rest_seconds=FILE_REFRESH_SECONDS / 2,
        )
    if settings.jwt_public_key is not None:
        with _naming_setting("JWT_PUBLIC_KEY"):
            return FixedKeys(parse_public_key(settings.jwt_public_key, allowed))
    assert settings.jwt_secret is not None  # noqa: S101 the settings have one of the four
    with _naming_setting("JWT_SECRET"):
        return FixedKeys(parse_secret(settings.jwt_secret.get_secret_value(), allowed))


@contextmanager
def _naming_setting(setting: str) -> Iterator[None]:
    try:
        yield
    except (InvalidKeys, DocumentUnavailable) as exc:
        raise InvalidSettings([f"{setting} {exc}"]) from exc
