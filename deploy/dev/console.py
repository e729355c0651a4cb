"""The output of all processes of a stack on one terminal."""

import sys
from typing import Final

_COLOURS: Final = (36, 32, 33, 35, 34, 31)


class Console:
    """Prints lines with the name of their process in front (in colour on a terminal)."""

    def __init__(self) -> None:
        self._in_colour = sys.stdout.isatty()
        self._names: list[str] = []

    def line(self, process: str, text: str) -> None:
        """Print one line of a process."""
        if process not in self._names:
            self._names.append(process)
        prefix = f"{process:<10} | "
        if self._in_colour:
            colour = _COLOURS[self._names.index(process) % len(_COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        print(f"{prefix}{text}", flush=True)

    def alarm(self, text: str) -> None:
        """Print something that must not be overlooked."""
        bar = "!" * 78
        print(f"{bar}\n!! {text}\n{bar}", flush=True)
