"""Links between documents lead somewhere, and the files that they name exist."""

import re
from pathlib import Path

import pytest

from tests.unit.docs.markdown import DOCUMENTS, ROOT, anchors, without_code


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert not broken


def test_each_document_is_in_the_index() -> None:
    index, decisions = ROOT / "docs" / "index.md", ROOT / "docs" / "adr" / "README.md"
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in (index, decisions)
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    }
    pointers = {ROOT / "docs" / name for name in ("wire.md", "decisions.md")}
    missing = set((ROOT / "docs").rglob("*.md")) - linked - pointers - {index}
    assert not missing


def test_named_test_files_exist() -> None:
    known = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    documents = [ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        Path(name).name
        for path in documents
        for name in re.findall(r"[\w/]*\btest_\w+\.py", path.read_text())
    }
    assert named - known == set()


def test_files_that_the_architecture_names_exist() -> None:
    rows = re.findall(
        r"^\| `([\w/]+)` \| [^|]* \| ([^|]*) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.M
    )
    missing = [
        f"{folder}/{name}"
        for folder, files in rows
        for name in re.findall(r"`([\w/.]+\.(?:py|ts|sql))`", files)
        if not (ROOT / folder / name).exists()
    ]
    assert len(rows) > 10
    assert not missing
