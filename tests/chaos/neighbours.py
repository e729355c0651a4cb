"""``make neighbours``: this version beside an earlier one, under the stale oracle.

Each pairing runs some of the parts from a checkout of the earlier version, on a database that
this version has installed, as an upgrade does.
"""

import argparse
import asyncio
import io
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.kinds import GATEWAYS
from tests.chaos.oracle import shorten
from tests.chaos.plan import plan_scenario
from tests.chaos.scenario import play
from tests.chaos.stack import LISTENERS
from tests.chaos.summary import describe
from tests.chaos.supervised_process import Launcher
from tests.support.processes import ROOT

FOLDER: Final = Path("build") / "neighbours"
LOCK: Final = "requirements/runtime.txt"
COMMITS_BACK: Final = 50  # where no release is tagged
# The parts of the earlier version.
PAIRINGS: Final[Mapping[str, Sequence[str]]] = {
    "earlier gateways, new listeners": GATEWAYS,
    "new gateways, earlier listeners": LISTENERS,
    "one of each": (GATEWAYS[0], LISTENERS[0]),
}


class NoSuchVersion(Exception):
    """The repository does not have the version; the text says what git answered."""


def earlier_version(repository: Path) -> str:
    """Return the newest tag before the current commit; without tags, a commit some way back.

    Raises:
        NoSuchVersion: the history is too short.
    """
    try:
        return _git(repository, "describe", "--tags", "--abbrev=0", "HEAD^").decode().strip()
    except NoSuchVersion:
        return _resolve(repository, f"HEAD~{COMMITS_BACK}")


def _resolve(repository: Path, ref: str) -> str:
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return _git(repository, *words).decode().strip()


def check_out(repository: Path, ref: str, folder: Path) -> None:
    """Write the files of a version to an empty folder. Raises ``NoSuchVersion``."""
    archive = _git(repository, "archive", "--format=tar", _resolve(repository, ref))
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _git(repository: Path, *words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip() or "no such commit"
        raise NoSuchVersion(f"git {' '.join(words)}: {told}")
    return done.stdout


def make_launcher(checkout: Path, folder: Path) -> Launcher:
    """Return what starts the checkout's programs: with this Python environment if their locks
    are the same, else with one that is made in *folder* from the checkout's.
    """
    if (checkout / LOCK).read_bytes() == (ROOT / LOCK).read_bytes():
        return Launcher((sys.executable, "-m"), checkout)
    print(f"installing {LOCK} of the earlier version ...", flush=True)
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    subprocess.run(
        [python, "-m", "pip", "install", *options, "-r", checkout / LOCK], check=True
    )
    return Launcher((python, "-m"), checkout)


def play_pairings(launcher: Launcher, options: argparse.Namespace) -> bool:
    """Play a scenario of each pairing. Return whether none showed a violation."""
    is_right = True
    for name, parts in PAIRINGS.items():
        scenario = plan_scenario(options.seed, seconds=options.seconds, faults=options.faults)
        launchers = dict.fromkeys(parts, launcher)
        folder = FOLDER / name.replace(" ", "-").replace(",", "")
        verdict = asyncio.run(play(scenario, folder, keep=options.keep, launchers=launchers))
        print(f"{name:32}  {describe(verdict)}", flush=True)
        if verdict.violations:
            is_right = False
            print(f"VIOLATION (timeline: {verdict.timeline}):")
            print("\n".join(shorten(verdict.violations)))
    return is_right


def main() -> int:
    """Return the exit code: 0 no violation, 1 a violation, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="make neighbours", description=__doc__)
    parser.add_argument(
        "--ref",
        help=f"the earlier version (the newest tag before HEAD, or HEAD~{COMMITS_BACK})",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenario (1)")
    parser.add_argument("--seconds", type=float, default=24, help="seconds of faults (24)")
    parser.add_argument("--faults", type=int, default=8, help="faults of each pairing (8)")
    parser.add_argument("--keep", action="store_true", help="write every timeline")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neverstale-neighbours-") as name:
        folder = Path(name)
        checkout = folder / "checkout"
        try:
            ref = options.ref or earlier_version(ROOT)
            check_out(ROOT, ref, checkout)
        except NoSuchVersion as exc:
            parser.error(str(exc))
        print(f"the earlier version is {ref}", flush=True)
        launcher = make_launcher(checkout, folder / "environment")
        return 0 if play_pairings(launcher, options) else 1


if __name__ == "__main__":
    sys.exit(main())
