"""`neverstale types` writes the resources as a TypeScript declaration, or checks it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from listener.capture.watches import Watch
from listener.setup.client_types import render_client_types
from neverstale.cli import main

Run = Callable[..., tuple[int, str, str]]

VECTORS: Final = Path(__file__).parents[3] / "vectors"
CONFIG: Final = (VECTORS / "resources.toml").read_text()
DECLARATION: Final = (VECTORS / "resources.d.ts").read_text()


def watch(resource: str) -> Watch:
    return Watch("t", resource, "id", "project_id", None)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("project_members", "project_members"),
        ("$money2", "$money2"),
        ("class", "class"),
        ("2fa", '"2fa"'),
        ("order-line", '"order-line"'),
        ("größe", '"gr\\u00f6\\u00dfe"'),
        ("🚀", '"\\ud83d\\ude80"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("task\n", '"task\\n"'),
        ("*/ }; bad(); /*", '"*/ }; bad(); /*"'),
    ],
)
def test_unusual_names_are_quoted(resource: str, name: str) -> None:
    assert f"\n    {name}: true;\n" in render_client_types([watch(resource)])


def test_the_order_and_number_of_watches_do_not_matter() -> None:
    watches = [watch("task"), watch("project"), watch("order line"), watch("task")]
    assert render_client_types(watches) == DECLARATION
    assert render_client_types(reversed(watches)) == DECLARATION


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run ``neverstale types`` beside an ``invalidation.toml``, without any other setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("NEVERSTALE_CONFIG", raising=False)
    Path("invalidation.toml").write_text(CONFIG)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neverstale", "types", *words])
        return main(), *capsys.readouterr()

    return run


@pytest.mark.parametrize("words", [(), ("--output", "-")], ids=["default", "-"])
def test_the_declaration_is_printed(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words) == (0, DECLARATION, "")


def test_the_declaration_is_written_and_replaced(run: Run) -> None:
    file = Path("neverstale.d.ts")
    written = (0, "neverstale.d.ts is written\n", "")
    assert run("--output", "neverstale.d.ts") == written
    assert file.read_bytes() == DECLARATION.encode()
    assert run("--output", "neverstale.d.ts") == (0, "neverstale.d.ts is up to date\n", "")
    file.write_bytes(b"\xff")
    assert run("--output", "neverstale.d.ts") == written
    assert file.read_bytes() == DECLARATION.encode()


@pytest.mark.parametrize("content", [None, b"", DECLARATION.encode()[:-1], b"\xff"])
def test_check_reports_a_file_that_is_out_of_date(run: Run, content: bytes | None) -> None:
    file = Path("neverstale.d.ts")
    if content is not None:
        file.write_bytes(content)
    code, output, errors = run("--check", "--output", "neverstale.d.ts")
    assert (code, output) == (1, "")
    assert errors == (
        "neverstale: neverstale.d.ts is out of date: run neverstale types "
        "--output neverstale.d.ts\n"
    )
    assert (file.read_bytes() if file.exists() else None) == content


@pytest.mark.parametrize("content", [DECLARATION, DECLARATION.replace("\n", "\r\n")])
def test_check_accepts_the_file_with_any_line_ends(run: Run, content: str) -> None:
    Path("neverstale.d.ts").write_bytes(content.encode())
    assert run("--check", "--output", "neverstale.d.ts")[0] == 0


def test_check_needs_a_file(run: Run) -> None:
    code, output, errors = run("--check")
    assert (code, output) == (2, "")
    assert "write --output PATH" in errors


def test_a_file_that_cannot_be_written_is_a_failure(run: Run) -> None:
    code, _, errors = run("--output", "missing/neverstale.d.ts")
    assert code == 1
    assert errors.startswith("neverstale: missing/neverstale.d.ts: ")


def test_mistakes_in_the_configuration_are_reported(run: Run) -> None:
    Path("invalidation.toml").write_text("[[watch]]\ntable = 'tasks'\n")
    code, output, errors = run()
    assert (code, output) == (2, "")
    assert "resource: is missing" in errors
