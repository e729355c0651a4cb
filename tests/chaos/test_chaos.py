"""A few fixed scenarios of the stale oracle; ``make chaos`` plays as many as time allows."""

import re
from pathlib import Path

import pytest

from tests.chaos.mutants import MUTANTS, Mutant
from tests.chaos.oracle import shorten
from tests.chaos.plan import plan_scenario
from tests.chaos.scenario import play
from tests.support.planting import find
from tests.support.processes import ROOT


def test_a_seed_decides_the_whole_schedule() -> None:
    first, same, other = (plan_scenario(seed, seconds=24, faults=12) for seed in (7, 7, 8))
    assert first == same
    assert first.rounds != other.rounds
    assert sum(len(round_.faults) for round_ in first.rounds) == 12


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_no_browser_stays_stale_or_receives_events_without_access(
    seed: int, tmp_path: Path
) -> None:
    verdict = await play(plan_scenario(seed, seconds=6, faults=5), tmp_path)
    assert not verdict.violations, (
        f"python -m tests.chaos --seed {seed} --seconds 6 --faults 5",
        shorten(verdict.violations),
    )
    assert verdict.faults.total() == 5
    assert verdict.events


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_fits_the_code(mutant: Mutant) -> None:
    for edit in mutant.edits:
        find(edit, ROOT)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_command_that_finds_a_mutant_fits_the_tests(mutant: Mutant) -> None:
    """Its file exists, and has a test that ``-k`` selects."""
    module, *arguments = mutant.found_by.split()
    if module != "pytest":
        return
    [path] = [one for one in arguments if one.startswith("tests/")]
    word = arguments[arguments.index("-k") + 1] if "-k" in arguments else ""
    names = re.findall(r"def (test_\w+)", (ROOT / path).read_text())
    assert any(word in name for name in names)
