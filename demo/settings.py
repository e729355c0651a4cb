"""Settings of the demo, from the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from shared.config.settings import DatabaseSettings, Port


class DemoSettings(DatabaseSettings):
    """Settings of ``python -m demo``."""

    host: str = Field("0.0.0.0", description="address to serve on")  # noqa: S104 phones may look too
    port: Port = Field(8000, description="port to serve on")
    gateway_port: Port = Field(
        8080, description="port of the gateway, at the host that the page is opened at"
    )
    jwt_secret: SecretStr = Field(
        description="what tokens are signed with: the gateway's JWT_SECRET"
    )
    token_seconds: int = Field(3600, ge=1, description="how long a token is valid")
    page_folder: Path = Field(Path("demo/web/dist"), description="the built page")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json or console; auto: console on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity logged; debug: every request"
    )
