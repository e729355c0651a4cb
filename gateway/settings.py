"""What the gateway is told by its environment."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr

from shared.settings import Port, Settings

MIN_SECRET_BYTES: Final = 32  # RFC 7518, section 3.2: at least as long as the hash


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes")
    return secret


class GatewaySettings(Settings):
    """Settings of ``python -m gateway``."""

    host: str = Field("0.0.0.0", description="address to serve on")  # noqa: S104 it serves the world
    port: Port = Field(8080, description="port to serve on")
    jwt_secret: Annotated[SecretStr, AfterValidator(_long_enough)] = Field(
        description="the secret of HMAC-signed tokens, at least 32 bytes"
    )
    jwt_issuer: str | None = Field(None, description="the `iss` that tokens must have")
    jwt_audience: str | None = Field(None, description="the `aud` that tokens must have")
    jwt_user_claim: str = Field("sub", description="the claim that holds the user's id")
