"""Print the paths of the pure modules, as pyproject.toml lists them, for coverage."""

import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def pure_paths() -> list[str]:
    """Return the paths of all pure modules, relative to the checkout."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = (
        one
        for one in document["tool"]["importlinter"]["contracts"]
        if one["name"].startswith("pure modules:")
    )
    return [f"{module.replace('.', '/')}.py" for module in contract["source_modules"]]


if __name__ == "__main__":
    print(",".join(pure_paths()))
