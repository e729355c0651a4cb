"""Deliberate faults in the real code, one at a time, each of which must be caught.

Each is planted in a copy of the tree. Its tests are run until one fails; the exit code is 1 if
all tests passed for any mutant.

    python -m tests.simulation.mutants [words of a mutant's name ...]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.simulation.mutations import MUTANTS, Mutant
from tests.support.planting import plant

ROOT: Final = Path(__file__).parents[2]
PARTS: Final = ("shared", "listener", "gateway", "neverstale", "tests", "deploy", "demo")
FILES: Final = ("pyproject.toml", "invalidation.toml")
EXAMPLES: Final = "600"


def run(mutant: Mutant) -> tuple[str | None, float]:
    """Return the test that caught the mutant, or None, and the seconds that it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="neverstale-mutant-") as name:
        tree = Path(name)
        for part in PARTS:
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for file in FILES:
            shutil.copy(ROOT / file, tree / file)
        plant(mutant.edit, tree)
        caught = next((test for test in mutant.tests if not _passes(test, tree)), None)
    return caught, time.monotonic() - started


def command(test: str) -> list[str]:
    """Return what runs a test, without those that fail with every mutant."""
    ignored = "--ignore=tests/simulation/test_mutations.py"
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", ignored, test]


def _passes(test: str, tree: Path) -> bool:
    more = {"SIMULATE_EXAMPLES": EXAMPLES, "SIMULATE_UNTIL_FIRST": "1"}
    done = subprocess.run(
        command(test), cwd=tree, env={**os.environ, **more}, capture_output=True
    )
    if done.returncode not in (0, 1):
        raise ChildProcessError(done.stdout.decode() + done.stderr.decode())
    return done.returncode == 0


def main(words: list[str]) -> int:
    wanted = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads suffice: each runs a process
        for mutant, (caught, seconds) in zip(wanted, pool.map(run, wanted), strict=True):
            survivors += caught is None
            print(f"{mutant.name:<66} {caught or 'SURVIVED':<34} {seconds:5.0f} s", flush=True)
    print(f"{len(wanted) - survivors} of {len(wanted)} mutants caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
