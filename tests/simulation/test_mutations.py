"""The list of mutants is the documented one, and each fits the code."""

from pathlib import Path

import pytest

from tests.simulation.mutants import ROOT, command
from tests.simulation.mutations import MUTANTS, Mutant
from tests.support.planting import find

README = Path(__file__).with_name("README.md").read_text()


def test_the_readme_lists_all_mutants() -> None:
    table = README.partition("| fault | found by |\n|---|---|\n")[2]
    names = [line.removeprefix("| ").partition(" (`")[0] for line in table.splitlines()]
    assert names == [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_fits_the_code(mutant: Mutant) -> None:
    find(mutant.edit, ROOT)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_tests_fit_the_tree(mutant: Mutant) -> None:
    assert [test for test in mutant.tests if not (ROOT / test).exists()] == []


def test_no_mutant_is_run_against_the_tests_of_this_list() -> None:
    """They fail with every mutant, as it no longer fits the code."""
    assert f"--ignore={Path(__file__).relative_to(ROOT)}" in command("tests/simulation")
