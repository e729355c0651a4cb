"""The description of settings."""

from gateway.settings import GatewaySettings
from listener.settings import ListenerSettings
from shared.config.settings import describe_settings


def test_every_setting_is_described() -> None:
    for kind in (ListenerSettings, GatewaySettings):
        text = describe_settings(kind)
        for name, field in kind.model_fields.items():
            assert name.upper() in text
            assert field.description
            assert field.description in text
