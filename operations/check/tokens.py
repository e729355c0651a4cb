"""Verifies a token as the gateway does, with the same settings."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from gateway.app import token_rules
from gateway.auth.key_sources import KeySource
from gateway.auth.token_verifier import TokenVerifier
from gateway.configured_keys import open_key_source
from gateway.settings import GatewaySettings
from operations.check.token_findings import TokenFacts
from shared.config.settings import load_settings
from shared.protocol.channels import IdType
from shared.protocol.close_codes import Refusal

# settings that a gateway needs, but that say nothing about tokens
_ELSEWHERE: Final = {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://localhost"}
_KEYS: Final = ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_KEYS_FILE", "JWT_JWKS_URL")
_PART_COUNT: Final = 3


class TokenSettings:
    """The gateway's settings of tokens, and the keys that they name.

    Raises ``InvalidSettings``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        of_tokens = {
            name: value for name, value in environment.items() if name.startswith("JWT_")
        }
        settings = load_settings(GatewaySettings, {**of_tokens, **_ELSEWHERE})
        self._settings = settings
        self.keys: KeySource = open_key_source(settings)

    @staticmethod
    def are_in(environment: Mapping[str, str]) -> bool:
        """Return whether the environment names a key."""
        return any(environment.get(name) for name in _KEYS)

    async def explain(self, token: str, user_type: IdType) -> TokenFacts:
        """Verify a token, and read what it says."""
        rules = token_rules(self._settings, user_type)
        outcome = await TokenVerifier(self.keys, rules).verify(token)
        header, claims = _read_parts(token)
        keys, now = self.keys.keys, datetime.now(UTC).timestamp()
        header_says = header or {}
        has_key = keys is not None and bool(
            keys.choose(header_says.get("kid"), header_says.get("alg"))
        )
        checked = None if claims is None else rules.check(claims, now)
        return TokenFacts(
            outcome,
            header,
            claims,
            has_key,
            checked if isinstance(checked, Refusal) else None,
            now,
        )

    async def can_read_keys(self) -> bool:
        """Return whether the keys can be read now."""
        await self.keys.refresh()
        return self.keys.state == "ok"


def _read_parts(token: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the header and the claims, unverified."""
    parts = token.split(".")
    if len(parts) != _PART_COUNT:
        return None, None
    return _read(parts[0]), _read(parts[1])


def _read(part: str) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        read = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return read if isinstance(read, dict) else None
    return None
