"""The corpus: schemas shaped like real applications, with a scripted day and migrations.

``tests/corpus/README.md`` describes the files.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "schemas"
EVERYBODY: Final = "everybody"


@dataclass(frozen=True)
class ClientPlan:
    """A client of one project. ``project`` and ``user`` are names of the day's script."""

    project: str
    user: str
    is_v1: bool


@dataclass(frozen=True)
class Step:
    """A transaction of the day. ``told`` are the events that it must produce, and no others.

    ``everybody`` is a reset of all clients, ``apollo *`` a reset of project apollo, ``apollo
    task UPDATE 7`` an event to all clients of apollo, and ``ada: apollo task UPDATE 7`` one to
    all clients of user ada.
    """

    case: str
    sql: str
    told: tuple[str, ...]
    waits_for: str | None = None

    def told_to(self, client: ClientPlan) -> Iterator[str]:
        for line in self.told:
            user, colon, event = line.partition(": ")
            if colon and user == client.user:
                yield event
            elif not colon and line.split()[0] in (client.project, EVERYBODY):
                yield line


@dataclass(frozen=True)
class Migration:
    """A migration that a framework runs while the app writes.

    ``sql`` runs statement by statement, each in its own transaction, or is refused by
    PostgreSQL with the text ``refused``. ``config`` has replacements in the config file.
    ``check`` has parts of the lines that ``check`` prints before ``install`` is run.
    """

    case: str
    sql: tuple[str, ...]
    check: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    installs: bool = False
    disables: bool = False
    resets: bool = False
    refused: str | None = None
    waits_for: str | None = None
    is_short: bool = False


@dataclass(frozen=True)
class Schema:
    """One folder of the corpus."""

    name: str
    ddl: str
    config: str
    extensions: tuple[str, ...]
    names: Mapping[str, str]
    clients: tuple[ClientPlan, ...]
    steps: tuple[Step, ...]
    migrations: tuple[Migration, ...]
    writers: tuple[tuple[tuple[str, ...], ...], ...]

    def id_of(self, name: str) -> str:
        return self.names[name]


def load_schemas(names: Sequence[str] = ()) -> list[Schema]:
    """Load the schemas of these names, or all that have a day."""
    folders = [FOLDER / name for name in names] or sorted(
        file.parent for file in FOLDER.glob("*/day.toml")
    )
    return [load_schema(folder) for folder in folders]


def load_schema(folder: Path) -> Schema:
    day = _read_toml(folder / "day.toml")
    names: dict[str, str] = day["names"]
    day = _named(day, names)
    migrations = _named(_read_toml(folder / "migrations.toml"), names)
    config = folder / "watch.toml"
    if not config.exists():
        config = folder / "invalidation.toml"
    extensions = folder / "extensions.txt"
    return Schema(
        name=folder.name,
        ddl=(folder / "schema.sql").read_text(),
        config=config.read_text(),
        extensions=tuple(extensions.read_text().split()) if extensions.exists() else (),
        names=names,
        clients=tuple(
            ClientPlan(one["project"], one["user"], one.get("v1", True))
            for one in day["client"]
        ),
        steps=tuple(
            Step(one["case"], one["sql"], tuple(one["told"]), one.get("waits_for"))
            for one in day["step"]
        ),
        migrations=tuple(_migration(**one) for one in migrations.get("migration", ())),
        writers=tuple(
            tuple(tuple(variants) for variants in one["statements"])
            for one in migrations.get("writer", ())
        ),
    )


def _migration(
    *,
    case: str,
    sql: Sequence[str],
    check: Sequence[str] = (),
    config: Sequence[Sequence[str]] = (),
    install: bool | None = None,
    disable: bool = False,
    resets: bool = False,
    refused: str | None = None,
    waits_for: str | None = None,
    short: bool = False,
) -> Migration:
    return Migration(
        case,
        tuple(sql),
        tuple(check),
        tuple((old, new) for old, new in config),
        bool(check) if install is None else install,
        disable,
        resets,
        refused,
        waits_for,
        short,
    )


def _read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text()) if path.exists() else {}


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """Replace ``{name}`` by its id in every text. Other braces stay."""
    if isinstance(value, str):
        for name, id_ in names.items():
            value = value.replace("{" + name + "}", id_)
        return value
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if isinstance(value, dict):
        return {key: _named(one, names) for key, one in value.items()}
    return value
