"""Reading a config file."""

from pathlib import Path

import pytest

from shared.config.access_rules import ConfigError
from shared.config.config_file import read_config


@pytest.mark.parametrize("text", [None, "not [ toml", b"\xff"])
def test_a_config_that_cannot_be_read_is_reported(
    tmp_path: Path, text: str | bytes | None
) -> None:
    path = tmp_path / "invalidation.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"invalidation\.toml"):
        read_config(path)
