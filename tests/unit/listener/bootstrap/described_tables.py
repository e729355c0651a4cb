"""Described tables of a small schema, and the configuration that is proposed for them."""

import tomllib
from collections.abc import Sequence
from typing import Any

from listener.bootstrap.catalog import Column, DescribedTable, ForeignKey
from listener.bootstrap.discovery import discover
from listener.bootstrap.first_config import render_config
from listener.capture.watches import parse_watches
from shared.config.access_rules import parse_access

Reference = tuple[str, str, str]  # columns, table, its columns: each with spaces between


def table(
    name: str,
    columns: str,
    *references: Reference,
    cascades: bool = False,
    sets_null: bool = False,
    key: str = "id",
    unique: Sequence[str] = (),
    visible: bool = True,
) -> DescribedTable:
    """A table; *columns* are ``name:type``, bigint where left out, ``?`` where NULL may be."""
    schema, _, short = name.rpartition(".")
    described = []
    for word in columns.split():
        column, _, kind = word.partition(":")
        described.append(Column(column.rstrip("?"), kind or "bigint", column.endswith("?")))
    keys = [tuple(one.split()) for one in ([key] if key else []) + list(unique)]
    foreign_keys = []
    for own, target, target_columns in references:
        target_schema, _, target_name = target.rpartition(".")
        foreign_keys.append(
            ForeignKey(
                tuple(own.split()),
                (target_schema or "public", target_name),
                tuple(target_columns.split()),
                cascades,
                sets_null,
            )
        )
    return DescribedTable(
        schema or "public",
        short,
        tuple(described),
        tuple(key.split()),
        tuple(keys),
        tuple(foreign_keys),
        visible=visible,
    )


def rendered(*tables: DescribedTable, projects: str | None = None) -> tuple[str, Any]:
    text = render_config(discover(tables, projects=projects))
    document = tomllib.loads(text)
    parse_watches(document)
    parse_access(document)
    return text, document


def watch(document: Any, name: str) -> dict[str, str]:
    [found] = [entry for entry in document["watch"] if entry["table"] == name]
    return {key: text for key, text in found.items() if key != "table"}


USERS = table("users", "id name:text")
PROJECTS = table("projects", "id owner_id", ("owner_id", "users", "id"))
OF_PROJECT = ("project_id", "projects", "id")
OF_USER = ("user_id", "users", "id")
MEMBERS = table(
    "project_members",
    "project_id user_id",
    OF_PROJECT,
    OF_USER,
    key="project_id user_id",
)
OF_SPRINT = ("sprint_id", "sprints", "id")
SPRINTS = table("sprints", "id project_id", OF_PROJECT)
TASKS = table("tasks", "id sprint_id", ("sprint_id", "sprints", "id"))
NOTES = table("notes", "id task_id", ("task_id", "tasks", "id"))
