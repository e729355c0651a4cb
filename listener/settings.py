"""The settings of the listener and of its commands, from the environment."""

from pydantic import Field

from shared.config.settings import DatabaseSettings, Port, Settings


class CommandSettings(DatabaseSettings):
    """Settings of the commands that use the database alone, ``install`` among them."""

    log_max_bytes: int = Field(
        2**30,
        ge=1024 * 1024,
        le=2**60,
        description="install: above this size of the change log, triggers stop logging",
    )


class ListenerSettings(CommandSettings, Settings):
    """Settings of a listener that runs."""

    raw_notify: bool = Field(
        default=True, description="accept NOTIFYs of other producers; false: ignore them"
    )
    health_port: Port = Field(
        8081, description="/healthz, /readyz (leader or standby) and /metrics"
    )
