"""The reference names what the code has: no more, no less, with the same defaults."""

import ast
import dataclasses
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from gateway.settings import GatewaySettings
from listener.capture.watches import Watch
from listener.settings import ListenerSettings
from neverstale.cli import main
from shared.config.access_rules import AccessRules
from shared.config.settings import Settings
from tests.support.metric_names import metrics_in_code
from tests.unit.docs.markdown import ROOT, read_document, table_rows

SETTINGS = "docs/reference/settings.md"
# Said by PostgreSQL or Redis, not by us.
FOREIGN_MESSAGES = {
    "prepared statement ... does not exist",
    "transaction blocks not allowed in statement pooling mode",
    "permission denied for ...",
    "query would be affected by row-level security",
    "cannot execute LISTEN during recovery",
    "cannot set transaction read-write mode during recovery",
    "You can't write against a read only replica",
}


def documented_settings(section: str) -> dict[str, str]:
    """Return the default of each setting in a section."""
    text = read_document(SETTINGS).partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {cells[0].strip("`"): cells[1].strip("`") for cells in table_rows(text)}


def shown_default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value in (None, "", ()):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(
    ("section", "kind", "common"),
    [
        ("Listener and gateway", Settings, None),
        ("Listener", ListenerSettings, Settings),
        ("Gateway", GatewaySettings, Settings),
    ],
    ids=["common", "listener", "gateway"],
)
def test_settings_have_the_documented_defaults(
    section: str, kind: type[Settings], common: type[Settings] | None
) -> None:
    inherited = common.model_fields if common else {}
    assert documented_settings(section) == {
        name.upper(): shown_default(field.default)
        for name, field in kind.model_fields.items()
        if name not in inherited
    }


def test_the_metrics_reference_is_complete() -> None:
    text = read_document("docs/reference/metrics.md").partition("\n## Metrics\n")[2]
    documented = {cells[0].strip("`") for cells in table_rows(text.partition("\n## ")[0])}
    assert documented == metrics_in_code()


def test_the_keys_of_the_configuration_file_are_documented() -> None:
    text = read_document("docs/reference/invalidation-toml.md")
    example = tomllib.loads(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    [watch] = example["watch"]
    assert set(watch) == {field.name for field in dataclasses.fields(Watch)}
    access = {field.name for field in dataclasses.fields(AccessRules)}
    assert set(example["access"]) | {"user_type"} == access


@pytest.fixture
def help_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Return what ``neverstale WORDS --help`` prints."""

    def help_of(words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["neverstale", *words.split(), "--help"])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return help_of


def test_the_command_line_reference_is_complete(help_of: Callable[[str], str]) -> None:
    rows = table_rows(read_document("docs/reference/cli.md"))
    documented = {
        name for cells in rows for name in re.findall(r"^`neverstale (\w+)`$", cells[0])
    }
    commands = set(re.findall(r"^    (\w+) ", help_of(""), re.MULTILINE)) - {"COMMAND"}
    assert documented == commands
    for command in (*commands, "dev socket", "dev token"):
        options = {
            option
            for cells in rows
            if f"`{command}`" in cells[0]
            for option in re.findall(r"`(--[a-z][a-z0-9-]+)", cells[1])
        }
        usage = help_of(command).partition("\n\n")[0]
        assert options == set(re.findall(r"--[a-z][a-z0-9-]+", usage)), command


def findings_in_code() -> dict[str, str]:
    """Return the severity of each finding by its id."""
    found = {}
    for package in ("listener", "operations"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    kind = {"_split": "problem"}.get(node.func.id, node.func.id)
                    first = node.args[0] if node.args else None
                    if kind in ("problem", "note") and isinstance(first, ast.Constant):
                        found[str(first.value)] = kind
    return found


def test_the_reference_of_findings_is_complete() -> None:
    text = read_document("docs/reference/check.md").partition("\n## Findings\n")[2]
    documented = {
        id_: cells[1]
        for cells in table_rows(text)
        for id_ in re.findall(r"`([a-z_.]+)`", cells[0])
    }
    assert documented == findings_in_code()


def exported_names(entry: Path) -> set[str]:
    """Return what an entry point of the npm package exports."""
    text = re.sub(r"/\*.*?\*/", "", entry.read_text(), flags=re.DOTALL)
    lists = re.findall(r"^export (?:type )?\{([^}]*)\}", text, re.MULTILINE)
    listed = {
        name.strip().removeprefix("type ") for names in lists for name in names.split(",")
    }
    declared = re.findall(
        r"^export (?:async )?(?:function|const|interface|class|type) (\w+)", text, re.MULTILINE
    )
    return (listed | set(declared)) - {""}


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        ("neverstale", "index.ts"),
        ("neverstale/tanstack", "tanstack/index.ts"),
        ("neverstale/persist", "persist/index.ts"),
        ("neverstale/server", "server/index.ts"),
        ("neverstale/tabs", "tabs/index.ts"),
        ("neverstale/react", "react/index.tsx"),
        ("neverstale/vue", "vue/index.ts"),
        ("neverstale/svelte", "svelte/index.ts"),
        ("neverstale/react-native", "react-native/index.ts"),
        ("neverstale/testing", "testing/index.ts"),
        ("neverstale/devtools", "devtools/index.ts"),
    ],
)
def test_the_client_reference_names_all_exports(entry: str, file: str) -> None:
    rows = table_rows(read_document("docs/reference/client-api.md"))
    [exports] = [cells[1] for cells in rows if cells[0] == f"`{entry}`"]
    assert set(re.findall(r"`(\w+)`", exports)) == exported_names(ROOT / "client/src" / file)


def test_the_client_reference_names_each_option_and_member() -> None:
    text = read_document("docs/reference/client-api.md")
    documented = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", text))))
    missing = []
    for path in sorted((ROOT / "client/src").rglob("*.ts*")):
        source = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        for name, body in re.findall(
            r"^export interface (\w+)[^{]*\{(.*?)^\}", source, re.MULTILINE | re.DOTALL
        ):
            members = re.findall(r"^  (?:readonly )?(\w+)\??[:(<]", body, re.MULTILINE)
            if name in documented:
                missing += [
                    f"{name}.{member}" for member in members if member not in documented
                ]
    assert not missing


def test_troubleshooting_names_messages_that_the_code_has() -> None:
    text = read_document("docs/how-to/troubleshooting.md").partition("\n## Alerts\n")[0]
    messages = {
        message
        for cells in table_rows(text)
        for message in re.findall(r"`([^`]+)`", cells[0])
        if " " in message
    }
    source = "\n".join(
        path.read_text()
        for package in ("gateway", "listener", "shared")
        for path in (ROOT / package).rglob("*.py")
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that go on in the next line
    missing = {
        message
        for message in messages - FOREIGN_MESSAGES
        if not all(part.strip(" :()") in joined for part in message.split("..."))
    }
    assert not missing


def logged_problems() -> Iterator[str]:
    """Return the message of each warning and error that a process logs."""
    for package in ("gateway", "listener", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(
                            value=ast.Name("log"),
                            attr="warning" | "error" | "exception" | "critical",
                        ),
                        args=[ast.Constant(str(message)), *_],
                    ):
                        yield message
                    case _:
                        pass


def test_troubleshooting_says_what_to_do_about_each_problem_that_is_logged() -> None:
    text = read_document("docs/how-to/troubleshooting.md").partition("\n## Alerts\n")[0]
    documented = {
        message
        for cells in table_rows(text)
        for message in re.findall(r"`([^`]+)`", cells[0])
        if cells[1]
    }
    missing = {
        message
        for message in logged_problems()
        if not message.startswith(tuple(one.split("...")[0] for one in documented))
    }
    assert not missing
