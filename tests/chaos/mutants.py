"""``python -m tests.chaos.mutants``: deliberate faults in the SQL, Lua and adapters.

Each is put into a temporary copy of the tree, where the command named with it must fail. Exit
code 1: one was not found.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.parts import ROOT

MOST_SECONDS: Final = 300.0
_LEFT_OUT: Final = (".*", "node_modules", "build", "dist", "__pycache__", "*.egg-info")


@dataclass(frozen=True)
class Edit:
    """``old`` is in the file exactly once."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Raises ``ValueError`` if it does not fit."""
        path = root / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has not exactly once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True)
class Mutant:
    """A fault, and the arguments of a ``python -m`` that must fail with it."""

    name: str
    found_by: str
    edits: Sequence[Edit]


def _one(name: str, found_by: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(name, found_by, (Edit(file, old, new),))


_CHAOS: Final = "tests.chaos --seed 1 --seconds 24 --faults 12"
_TESTS: Final = "pytest -q -x tests/integration/"

MUTANTS: Final = (
    _one(
        "forget the old project of a row that moves",
        f"{_TESTS}test_spine.py -k every_change_of_every_table",
        "listener/core/triggers.py",
        "    if row.placing:\n        when",
        "    if not row.placing:\n        when",
    ),
    _one(
        "log only the new image of a row in a partitioned table",
        f"{_TESTS}test_capture.py -k every_path",
        "listener/core/triggers.py",
        'every = "(select * from before union all select * from changed) as changed"',
        'every = "changed"',
    ),
    _one(
        "drop rows that name a user when a backlog is widened",
        f"{_TESTS}test_backlog.py",
        "listener/sql/backlog.sql",
        "             and ((newest.user_id is null and newest.project_id is not null)\n"
        "                  or heavy_users.user_id is not null) as is_covered",
        "             as is_covered",
    ),
    _one(
        "read only what began after the cursor",
        f"{_TESTS}test_listener.py -k hides_nothing",
        "listener/sql/read.sql",
        "     or xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))\n",
        "",
    ),
    _one(
        "take a log that a crash has emptied for the former one",
        f"{_TESTS}test_backlog.py -k crash_of_a_backend",
        "listener/sql/read.sql",
        "(select id from neverstale.incarnation)::text as identity",
        "'same' as identity",
    ),
    _one(
        "prune by the snapshot just read, not by the saved one",
        f"{_CHAOS} --only=full",
        "listener/leader.py",
        "        batch = await self._read(place.cursor)\n",
        "        batch = await self._read(place.cursor)\n"
        "        await self._log.prune(batch.cursor)\n",
    ),
    _one(
        "save the cursor before publishing",
        f"{_TESTS}test_failover.py -k could_not_be_published",
        "listener/leader.py",
        "            await self._publish(planned, place)\n",
        "            await self._save(replace(place, cursor=batch.cursor), tick_lag_ms=None)\n"
        "            await self._publish(planned, place)\n",
    ),
    Mutant(
        "never compare Redis's identity",
        f"{_TESTS}test_failover.py -k comes_back_older",
        (
            Edit("listener/core/leadership.py", " or stored_in != redis_identity:", ":"),
            Edit(
                "listener/leader.py",
                "            if await self._publisher.identity() != place.redis:\n"
                '                return Reset("gap", place.live)\n',
                "",
            ),
        ),
    ),
    _one(
        "let a frozen leader be",
        f"{_TESTS}test_frozen_leader.py -k is_replaced",
        "listener/standby.py",
        "ended = await self._session.end_leader(pid)",
        "ended = False",
    ),
    _one(
        "save whatever generation is stored",
        f"{_TESTS}test_redis_link.py -k only_under_the_stored",
        "listener/lua/save.lua",
        "if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1]"
        " then return 0 end\n",
        "",
    ),
    _one(
        "trim a log without raising its floor",
        f"{_TESTS}test_resume.py -k older_place",
        "listener/lua/publish.lua",
        "  redis.call('ZADD', key, low[2], epoch) -- the floor rises to the newest row cut\n",
        "",
    ),
    _one(
        "do not ask anew after a gap of Redis",
        f"{_TESTS}test_revocation.py -k in_a_gap_of_redis",
        "gateway/subscriber.py",
        "            self._guard.doubt(EVERYTHING)  # rechecks were missed\n",
        "",
    ),
    _one(
        "take a Redis that answers no PING for alive",
        f"{_TESTS}test_failover.py -k frozen_redis",
        "gateway/subscriber.py",
        "if unanswered * HEARTBEAT_SECONDS >= TIMEOUT_SECONDS:",
        "if unanswered < 0:",
    ),
    _one(
        "let those who lost a project go on hearing of it",
        "tests.chaos --seed 1 --seconds 8 --faults 1",
        "gateway/guard.py",
        "        for pair in self._fanout.pairs(recheck):\n",
        "        for pair in set[Pair]():\n",
    ),
    _one(
        "replay although the log does not reach back",
        f"{_TESTS}test_redis_link.py -k would_be_incomplete",
        "gateway/lua/replay.lua",
        "if since and since >= floor and",
        "if since and",
    ),
)


def run(mutant: Mutant) -> str | None:
    """How its command fails in a copy of the tree that has it; None: it does not."""
    with tempfile.TemporaryDirectory(prefix="neverstale-mutant-") as name:
        copy = Path(name) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        for edit in mutant.edits:
            edit.apply(copy)
        try:
            tried = subprocess.run(
                [sys.executable, "-m", *mutant.found_by.split()],
                cwd=copy,
                capture_output=True,
                check=False,
                timeout=MOST_SECONDS,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return None
    return _evidence(tried.stdout) if tried.returncode == 1 else None


def _evidence(output: str) -> str | None:
    """The first test that failed, or the first violation; anything else proves nothing."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("FAILED "):
            return line
        if line.startswith("VIOLATION "):
            return lines[number + 1]
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the names of those to run (all)")
    only = parser.parse_args().only
    survivors = 0
    for mutant in MUTANTS:
        if only and not any(word in mutant.name for word in only):
            continue
        began = time.monotonic()
        evidence = run(mutant)
        survivors += evidence is None
        seconds = time.monotonic() - began
        told = evidence or f"NOT FOUND by {mutant.found_by}"
        print(f"{mutant.name} ({seconds:.0f} s)\n  {told}", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
