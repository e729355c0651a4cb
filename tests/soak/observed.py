"""``python -m tests.soak.observed FILE MODULE``: run MODULE and note how many tasks it has.

The number of its asyncio tasks is written to FILE each second.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.runtime import lifecycle

NOTE_SECONDS = 1.0


def main(file: Path, module: str) -> None:
    bounded_collections = lifecycle.bounded_collections  # what a service runs in, on its loop

    @contextmanager
    def observed() -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def note() -> None:
            new = file.with_suffix(".new")
            new.write_text(str(len(asyncio.all_tasks())))
            os.replace(new, file)
            loop.call_later(NOTE_SECONDS, note)

        loop.call_soon(note)
        with bounded_collections():
            yield

    lifecycle.bounded_collections = observed
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
