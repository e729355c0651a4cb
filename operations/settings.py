"""The settings of ``neverstale check`` and ``neverstale status``: each part is optional."""

from typing import Literal

from pydantic import Field, SecretStr

from shared.config.settings import (
    ConfigFileSettings,
    DatabaseUrlText,
    IsCluster,
    RedisUrlText,
)


class StatusSettings(ConfigFileSettings):
    """Settings of ``neverstale status``."""

    redis_url: RedisUrlText | None = Field(
        None, description="Redis or Valkey; unset: it is not used"
    )
    redis_prefix: str = Field("", description="before every channel and key")
    redis_cluster: IsCluster = Field(
        default=False, validate_default=True, description="REDIS_URL leads to a Redis Cluster"
    )
    admin_key: SecretStr | None = Field(
        None, description="key of the gateways' admin API, for what only they know"
    )


class CheckSettings(StatusSettings):
    """Settings of ``neverstale check``, beside those of the gateway's tokens."""

    database_url: DatabaseUrlText | None = Field(
        None, description="PostgreSQL; unset: it is not checked"
    )
    log_max_bytes: int = Field(2**30, ge=1024 * 1024, le=2**60, description="as for `install`")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="json or console; auto: console on a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="least severity logged"
    )
