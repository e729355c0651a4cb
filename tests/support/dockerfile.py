"""The Dockerfile of the product, read as its stages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"


@dataclass
class Stage:
    """A stage: what it starts from, and its other instructions, each in one line."""

    base: str
    lines: list[str]


def stages() -> dict[str, Stage]:
    """Return the stages by name, in order."""
    found: dict[str, Stage] = {}
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = Stage(base, [])
        elif line and not line.startswith("#"):
            next(reversed(found.values())).lines.append(" ".join(line.split()))
    return found


def lines_of(name: str) -> list[str]:
    """Return all instructions of a stage, those of the stages below it first."""
    found = stages()
    if name not in found:
        return []
    return [*lines_of(found[name].base), *found[name].lines]


def kept_sources() -> list[str]:
    """Return the files and folders that ``.dockerignore`` leaves to the build."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def excluded_names() -> list[str]:
    """Return the names of files and folders that are left out wherever they are."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line.removeprefix("**/") for line in lines if line.startswith("**/")]
