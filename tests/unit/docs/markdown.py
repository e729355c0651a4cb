"""Reads the documents of the repository."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
DOCUMENTS: Final = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "tests/**/*.md",
        "client/*.md",
        "demo/*.md",
        "examples/*/*.md",
    )
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)


def read_document(name: str) -> str:
    return (ROOT / name).read_text()


def without_code(text: str) -> str:
    """Return *text* without fenced blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of each table row, without heads and rules."""
    rows = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_head = number + 1 < len(lines) and lines[number + 1].startswith("|---")
        if line.startswith("| ") and not is_head:
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of *text*."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M
    ):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors
