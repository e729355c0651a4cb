"""``python -m tests.chaos.skewed SECONDS MODULE``: run MODULE with its clock ahead."""

import runpy
import sys
import time


def main(seconds: float, module: str) -> None:
    """Run the module. Only its time of day is wrong: the monotonic clock can't be set."""
    right = time.time
    time.time = lambda: right() + seconds
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
