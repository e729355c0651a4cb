"""What commands print of a database whose names are meant for the terminal of its operator."""

import sys
import tomllib
from pathlib import Path

import pytest

from listener.__main__ import _print_sql
from tests.support.world import World

NAME = "a\x1b]0;x\x07\x1b[2J\nneverstale: fine\N{RIGHT-TO-LEFT OVERRIDE}"


def assert_printable(text: str) -> None:
    lines = text.split("\n")
    assert "".join(lines).isprintable(), text
    assert not any(line.startswith("neverstale: fine") for line in lines)


async def test_hostile_names_are_escaped_by_every_command(world: World, tmp_path: Path) -> None:
    await world.database.execute(
        f'create table "{NAME}" ("{NAME}" uuid primary key, project_id uuid not null'
        " references projects)"
    )
    config = tmp_path / "invalidation.toml"
    code, text, told = await world.command("listener", "init", "--output", "-")
    assert code == 0, told
    assert_printable(told)
    assert_printable(text)
    assert NAME in "".join(each["table"] for each in tomllib.loads(text)["watch"])
    config.write_text(text)
    more = {"NEVERSTALE_CONFIG": str(config)}

    code, told, problems = await world.command("listener", "install", **more)
    assert code == 0, problems
    assert "created" in told
    assert_printable(told)
    code, sql, _ = await world.command("listener", "sql", **more)
    assert code == 0
    assert NAME in sql  # not a terminal: it is run as it stands

    await world.database.execute(f'alter table "{NAME}" rename to "{NAME}2"')
    code, told, problems = await world.command("neverstale", "check", **more)
    assert code == 1
    assert "there is no such table" in problems
    assert_printable(told + problems)
    await world.database.execute(f'alter table "{NAME}2" rename to "{NAME}"')
    await world.database.execute(f'alter table "{NAME}" rename column "{NAME}" to "{NAME}2"')
    code, told, problems = await world.command("listener", "install", **more)
    assert code == 2
    assert "does not exist" in problems  # PostgreSQL's text
    assert_printable(told + problems)


async def test_a_trigger_with_a_hostile_name_is_reported_escaped(world: World) -> None:
    await world.database.execute(
        "create function tell() returns trigger language plpgsql as"
        " $$begin perform pg_notify('cache_invalidate', ''); return null; end$$"
    )
    await world.database.execute(
        f'create trigger "{NAME}" after insert on users execute function tell()'
    )
    code, told, problems = await world.command("neverstale", "check")
    assert code == 1
    assert "sends cache_invalidate" in problems
    assert_printable(told + problems)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_sql_is_escaped_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    _print_sql("begin;\n\x1b[2J\n")
    assert capsys.readouterr().out == (
        "begin;\n\\u001b[2J\n" if is_terminal else "begin;\n\x1b[2J\n"
    )
