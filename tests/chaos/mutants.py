"""``python -m tests.chaos.mutants``: deliberate faults in SQL, Lua, adapters, the npm package.

Each is put into a temporary copy of the tree, where the command named with it must fail. The
exit code is 1 if any fault was not found.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.simulation import mutations as simulation
from tests.support.planting import Edit, Language, plant
from tests.support.processes import ROOT

MOST_SECONDS: Final = 600.0
_LEFT_OUT: Final = (".*", "node_modules", "build", "dist", "__pycache__", "*.egg-info")
_NODE_MODULES: Final = "client/node_modules"
# What proves that a fault was found, and not merely that its copy cannot run: a failed test, or
# the violation below its heading.
_EVIDENCE: Final = re.compile(r"^(?:FAILED .*|VIOLATION .*\n.*)", re.MULTILINE)
_SEEN_BY_ORACLE: Final = re.compile(r"AssertionError: round .*")


@dataclass(frozen=True)
class Mutant:
    """A fault, and the arguments of the ``python -m`` command that must fail with it."""

    name: str
    found_by: str
    edits: Sequence[Edit]
    environment: Mapping[str, str] = field(default_factory=dict)
    evidence: re.Pattern[str] = _EVIDENCE


def _one(
    name: str, found_by: str, before: str, after: str, language: Language = "py"
) -> Mutant:
    return Mutant(name, found_by, (Edit(before, after, language),))


def _package(name: str, before: str, after: str) -> Mutant:
    """Return a fault of the npm package that its stale oracle must see."""
    return Mutant(
        name,
        "pytest -q tests/integration/test_client.py",
        (Edit(before, after, "ts"),),
        {"CLIENT_TESTS": "oracle.test", "ORACLE_SECONDS": "40"},
        _SEEN_BY_ORACLE,
    )


# the faults of `make mutants` that are planted here too
_SIMULATED: Final = {mutant.name: mutant.edit for mutant in simulation.MUTANTS}
_CHAOS: Final = "tests.chaos --seed 1 --seconds 24 --faults 12"
_TESTS: Final = "pytest -q -x tests/integration/"

MUTANTS: Final = (
    _one(
        "forget the old project of a row that moves",
        f"{_TESTS}delivery/test_committed_changes.py -k every_change_of_every_table",
        """\
if bodies.row.routing_columns:
    when = f" when ({differ(bodies.row.routing_columns, table)})"
    triggers.append(...)
""",
        """\
if not bodies.row.routing_columns:
    when = f" when ({differ(bodies.row.routing_columns, table)})"
    triggers.append(...)
""",
    ),
    _one(
        "log only the new image of a row in a partitioned table",
        f"{_TESTS}capture/test_every_row_change.py -k every_path",
        'every = "(select * from before union all select * from changed) as changed"',
        'every = "changed"',
    ),
    _one(
        "drop rows that name a user when a backlog is widened",
        f"{_TESTS}leader/test_backlog.py",
        """\
and ((newest.user_id is null and newest.project_id is not null)
     or heavy_users.user_id is not null) as is_covered
""",
        "as is_covered",
        "sql",
    ),
    _one(
        "read only what began after the cursor",
        f"{_TESTS}leader/test_listener.py -k hides_nothing",
        """\
    or xid = any (array(select pg_snapshot_xip($1::text::pg_snapshot)))
    order by l.at
""",
        """\

  order by l.at
""",
        "sql",
    ),
    _one(
        "take a log that a crash has emptied for the former one",
        f"{_TESTS}leader/test_backlog.py -k crash_of_a_backend",
        "(select id from neverstale.incarnation)::text as identity",
        "'same' as identity",
        "sql",
    ),
    Mutant(
        "prune by the snapshot just read, not by the saved one",
        f"{_CHAOS} --only=full",
        (_SIMULATED["the log is pruned up to what was read, before it is published"],),
    ),
    Mutant(
        "save the cursor before publishing",
        f"{_TESTS}leader/test_failover.py -k could_not_be_published",
        (_SIMULATED["the cursor is saved before the rows are published"],),
    ),
    Mutant(
        "never compare Redis's identity",
        f"{_TESTS}leader/test_failover.py -k comes_back_older",
        (
            _SIMULATED["Redis's identity is not compared on taking over"],
            _SIMULATED["Redis's identity is not compared with the ticks"],
        ),
    ),
    _one(
        "let a frozen leader be",
        f"{_TESTS}leader/test_frozen_leader.py -k is_replaced",
        """\
ended = await self._session.end_leader(pid)
log.warning(..., extra={"pid": pid, "ended": ended})
""",
        """\
ended = False
log.warning(..., extra={"pid": pid, "ended": ended})
""",
    ),
    Mutant(
        "save whatever generation is stored",
        f"{_TESTS}links/test_redis_link.py -k only_under_the_stored",
        (_SIMULATED["save does not compare the generation"],),
    ),
    Mutant(
        "trim a log without raising its floor",
        f"{_TESTS}delivery/test_resume.py -k older_place",
        (_SIMULATED["trim does not raise the floor"],),
    ),
    Mutant(
        "do not ask anew after a gap of Redis",
        f"{_TESTS}access/test_revocation.py -k in_a_gap_of_redis",
        (_SIMULATED["no re-check after a gap of Redis"],),
    ),
    _one(
        "take a Redis that answers no PING for alive",
        f"{_TESTS}leader/test_failover.py -k frozen_redis",
        "self._unanswered * PING_SECONDS >= silent_seconds",
        "self._unanswered < 0",
    ),
    _one(
        "deliver to users who lost access to a project",
        "tests.chaos --seed 1 --seconds 8 --faults 1",
        """\
for pair in self._subscriptions.pairs(recheck):
    self._perform(pair, self._revalidations.recheck(pair, now))
""",
        """\
pass
""",
    ),
    _one(
        "replay although the log does not reach back",
        f"{_TESTS}links/test_redis_link.py -k would_be_incomplete",
        "if since and since >= floor and",
        "if since and",
        "lua",
    ),
    _package(
        "do not poll while not live",
        "if (pollMs === false || this.stopPolling) return;",
        "if (pollMs !== undefined) return;",
    ),
    _package(
        "do not refetch after an own mutation while not live",
        "if (event.type === 'updated' && event.action.type === 'success') "
        "this.useActive(true);",
        "void event;",
    ),
    _package(
        "drop events while the page is hidden",
        "this.projects.add(event.projectId);",
        """\
this.projects.add(event.projectId);
if (!this.connection.environment.isVisible()) return;""",
    ),
    _package(
        "keep what a failed mutation has written",
        "if (event.action.type === 'error') this.onFailedMutation(mutation);",
        "",
    ),
    _package(
        "catch up with nothing when bound late",
        "if (moved.length === 0) return;",
        "if (moved.length >= 0) return;",
    ),
    _package(
        "do not defer refetches until mutations have settled",
        "return isAwaited && this.rule.mayAffect(mutation, queryKey);",
        "return false;",
    ),
    _package(
        "take a fetch that began before an event for fresh",
        "if (mark !== undefined && (isPartial || mark >= began.order)) {",
        "if (mark !== undefined && isPartial) {",
    ),
)


def run(mutant: Mutant) -> str | None:
    """Return the first failure of its command in a copy of the tree, None if it passes."""
    with tempfile.TemporaryDirectory(prefix="neverstale-mutant-") as name:
        copy = Path(name) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (copy / _NODE_MODULES).symlink_to((ROOT / _NODE_MODULES).resolve())
        for edit in mutant.edits:
            plant(edit, copy)
        try:
            tried = subprocess.run(
                [sys.executable, "-m", *mutant.found_by.split()],
                cwd=copy,
                env={**os.environ, **mutant.environment},
                capture_output=True,
                check=False,
                timeout=MOST_SECONDS,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return None
    found = mutant.evidence.search(tried.stdout) if tried.returncode == 1 else None
    return found and found[0].splitlines()[-1]


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
