"""``python -m tests.chaos.skewed SECONDS MODULE``: run it with its clock so far ahead."""

import runpy
import sys
import time


def main(seconds: float, module: str) -> None:
    """Run it. Its time of day alone is wrong: nobody can set the monotonic clock."""
    right = time.time
    time.time = lambda: right() + seconds
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
