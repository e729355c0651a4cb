"""Reads the catalog for a first ``invalidation.toml``, and writes the file."""

import json
from pathlib import Path
from typing import Final

from listener.bootstrap.catalog import Column, DescribedTable, ForeignKey
from listener.links.pg_link import Connection, using_search_path

_DISCOVER: Final = (Path(__file__).parent / "sql" / "discover.sql").read_text()


class NotWritten(Exception):
    """The file could not be written; the text says why and what to do."""


async def describe_tables(connection: Connection) -> list[DescribedTable]:
    """Return the tables of the app's schemas. Must run inside a transaction."""
    async with using_search_path(connection, "default"):
        schemas = await connection.fetchval("select pg_catalog.current_schemas(false)")
    tables = []
    for row in await connection.fetch(_DISCOVER, schemas):
        keys = [(is_primary, tuple(names)) for is_primary, names in json.loads(row["keys"])]
        tables.append(
            DescribedTable(
                row["schema"],
                row["name"],
                tuple(Column(*column) for column in json.loads(row["columns"])),
                next((names for is_primary, names in keys if is_primary), ()),
                tuple(names for _, names in keys),
                tuple(
                    ForeignKey(tuple(columns), (schema, table), tuple(targets), *on_delete)
                    for columns, schema, table, targets, *on_delete in json.loads(
                        row["foreign_keys"]
                    )
                ),
                visible=row["visible"],
            )
        )
    return tables


def write_new(path: Path, text: str) -> None:
    """Write a new file.

    Raises:
        NotWritten: the file exists, or cannot be created.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise NotWritten(
            f"{path} exists already and was not changed: name another file with --output PATH "
            "(- is standard output)"
        ) from exc
    except OSError as exc:
        raise NotWritten(f"{path}: {exc.strerror}: name another with --output PATH") from exc
