"""What happened in a scenario, in order, for finding the cause of a violation."""

import time
from pathlib import Path


class Timeline:
    """Notes with their time in seconds since the scenario began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._notes: list[tuple[float, str, str]] = []

    def now(self) -> float:
        return time.monotonic() - self._began

    def note(self, who: str, what: str) -> None:
        self._notes.append((self.now(), who, what))

    def write(self, path: Path, logs: dict[str, str]) -> None:
        """Write the notes, followed by the *logs* of the parts."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for at, who, what in self._notes:
                file.write(f"{at:9.3f} {who:22} {what}\n")
            for name, text in logs.items():
                file.write(f"\n--- {name}\n{text}")
