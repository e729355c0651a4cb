"""Reads ``invalidation.toml``."""

import tomllib
from pathlib import Path
from typing import Any

from shared.config.access_rules import ConfigError


def read_config(path: Path) -> dict[str, Any]:
    """The parsed file.

    Raises:
        ConfigError: there is no such file, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(
            [f"{path}: {exc.strerror}: set NEVERSTALE_CONFIG to where it is"]
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{path}: {exc}"]) from exc
