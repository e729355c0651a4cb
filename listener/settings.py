"""What the listener is told by its environment."""

from pydantic import Field

from shared.settings import Port, Settings


class ListenerSettings(Settings):
    """Settings of ``python -m listener``."""

    health_port: Port = Field(
        8081, description="/healthz, /readyz (leader or standby) and /metrics"
    )
