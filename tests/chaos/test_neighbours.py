"""Which earlier version is run beside this one, and which parts are of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.kinds import GATEWAYS
from tests.chaos.neighbours import (
    LOCK,
    PAIRINGS,
    NoSuchVersion,
    check_out,
    earlier_version,
    make_launcher,
)
from tests.chaos.stack import LISTENERS
from tests.support.processes import ROOT


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with three commits; the second is tagged."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "--quiet")
    for number in (1, 2, 3):
        (folder / "version").write_text(str(number))
        _git(folder, "add", "version")
        _git(folder, "commit", "--quiet", "--message", f"version {number}")
        if number == 2:
            _git(folder, "tag", "v0.2.0")
    return folder


def _git(folder: Path, *words: str) -> None:
    identity = (
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "-c",
        "commit.gpgsign=false",
    )
    subprocess.run(["git", *identity, *words], cwd=folder, check=True)


def test_the_earlier_version_is_the_newest_tag_before_this_commit(repository: Path) -> None:
    assert earlier_version(repository) == "v0.2.0"
    _git(repository, "tag", "v0.3.0")
    assert earlier_version(repository) == "v0.2.0"


def test_without_tags_and_with_few_commits_there_is_no_earlier_version(
    repository: Path,
) -> None:
    _git(repository, "tag", "--delete", "v0.2.0")
    with pytest.raises(NoSuchVersion):
        earlier_version(repository)


def test_a_checkout_has_the_files_of_its_version(repository: Path, tmp_path: Path) -> None:
    check_out(repository, "v0.2.0", tmp_path / "checkout")
    assert (tmp_path / "checkout" / "version").read_text() == "2"
    with pytest.raises(NoSuchVersion):
        check_out(repository, "v9", tmp_path / "other")


def test_a_version_with_the_same_lock_uses_the_same_environment(tmp_path: Path) -> None:
    lock = tmp_path / LOCK
    lock.parent.mkdir()
    lock.write_bytes((ROOT / LOCK).read_bytes())
    launcher = make_launcher(tmp_path, tmp_path / "environment")
    assert (launcher.command, launcher.folder) == ((sys.executable, "-m"), tmp_path)


def test_each_kind_of_process_is_paired_with_the_other_kind_of_the_earlier_version() -> None:
    kinds = [set(parts) for parts in PAIRINGS.values()]
    assert set(GATEWAYS) in kinds
    assert set(LISTENERS) in kinds
