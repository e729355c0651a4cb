"""Reads ``invalidation.toml``."""

import tomllib
from pathlib import Path
from typing import Any

from shared.config.access_rules import ConfigError


def read_config(path: Path) -> dict[str, Any]:
    """Return the parsed file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigError(
            [f"{path}: {exc.strerror}: set NEVERSTALE_CONFIG to its path"]
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{path}: {exc}"]) from exc
