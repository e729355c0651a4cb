"""The lines of all parts on one terminal."""

import sys
from typing import Final

_COLOURS: Final = (36, 32, 33, 35, 34, 31)


class Console:
    """Lines of all parts, told apart by a prefix of fixed width (in colour on a terminal)."""

    def __init__(self) -> None:
        self._in_colour = sys.stdout.isatty()
        self._parts: list[str] = []

    def line(self, part: str, text: str) -> None:
        """Print one line of a part."""
        if part not in self._parts:
            self._parts.append(part)
        prefix = f"{part:<10} | "
        if self._in_colour:
            colour = _COLOURS[self._parts.index(part) % len(_COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        print(f"{prefix}{text}", flush=True)

    def alarm(self, text: str) -> None:
        """Say something that must not be overlooked."""
        bar = "!" * 78
        print(f"{bar}\n!! {text}\n{bar}", flush=True)
