"""The listener's settings."""

from pydantic import Field

from shared.config.settings import Port, Settings


class ListenerSettings(Settings):
    """Settings of ``python -m listener``."""

    log_max_bytes: int = Field(
        2**30,
        ge=1024 * 1024,
        le=2**60,
        description="install: above this size of the change log, triggers stop logging",
    )
    raw_notify: bool = Field(
        default=True, description="accept NOTIFYs of other producers; false: ignore them"
    )
    health_port: Port = Field(
        8081, description="/healthz, /readyz (leader or standby) and /metrics"
    )
