"""A gateway that writes the pauses of its garbage collector to a file, in ms of CPU time."""

import gc
import os
import sys
import time
from pathlib import Path
from typing import Any

from gateway.__main__ import main


def observe(path: Path) -> None:
    started = 0.0
    file = path.open("a", buffering=1)

    def note(phase: str, info: dict[str, Any]) -> None:
        nonlocal started
        if phase == "start":
            started = time.thread_time()
        else:
            milliseconds = 1000 * (time.thread_time() - started)
            if milliseconds > 1:
                file.write(f"{info['generation']} {milliseconds:.1f}\n")

    gc.callbacks.append(note)


if __name__ == "__main__":
    observe(Path(os.environ["GC_PAUSES"]))
    sys.exit(main([]))
