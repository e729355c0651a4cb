"""Rules: what is wrong with a database, given the facts that were read from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from shared.runtime.findings import Finding, note, problem

MIN_SERVER_VERSION: Final = 14
_RUN_INSTALL: Final = "run neverstale install"
_CORRECT_FILE: Final = "correct invalidation.toml, or run the migration that it waits for"

# A table or another object, with the name of what belongs to it.
Named: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ExcessRight:
    """A right on one of Neverstale's objects that the role does not need; ``statement`` revokes
    it.
    """

    role: str
    privileges: str
    object: str
    statement: str


@dataclass(frozen=True, slots=True)
class LookUp:
    """A table that an expression of a watch looks up."""

    watch: str
    key: str
    table: str


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was read from a database. What could not be read has its default.

    ``wrong_entries`` are errors of ``invalidation.toml``; with one of them, the triggers are
    compared with those that were installed (``differences``), not with the file. ``exposure``,
    ``hidden`` and ``hidden_from_listeners`` are texts of the form ``what: what to do``.
    """

    server_version: int = MIN_SERVER_VERSION
    is_standby: bool = False
    is_installed: bool = True
    wrong_entries: Sequence[str] = ()
    differences: Sequence[str] = ()
    missing_triggers: Sequence[Named] = ()
    unknown_triggers: Sequence[str] = ()
    is_disabled: bool = False
    foreign_triggers: Sequence[Named] = ()
    excess_rights: Sequence[ExcessRight] = ()
    exposure: str = ""
    owner: str = ""
    hidden: Sequence[str] = ()
    secured_tables: Sequence[str] = ()
    access_error: str = ""
    members_error: str = ""
    hidden_from_listeners: Sequence[str] = ()
    has_members: bool = True
    max_prepared_transactions: int = 0
    raw_notify_seen: bool = False
    restored_rows: int = 0
    subscriptions: Sequence[Named] = ()
    unbound_parents: Sequence[LookUp] = ()
    unwatched_look_ups: Sequence[LookUp] = ()


def find_in_database(facts: DatabaseFacts) -> list[Finding]:
    """Return the findings, problems first."""
    if facts.server_version < MIN_SERVER_VERSION:
        return [
            problem(
                "postgresql.version",
                f"PostgreSQL {facts.server_version} is not supported",
                f"use PostgreSQL {MIN_SERVER_VERSION} or newer",
            )
        ]
    if facts.is_standby:
        return [
            problem(
                "postgresql.standby",
                "DATABASE_URL leads to a standby, where nothing can be captured",
                "make it lead to the primary, also after a failover",
            )
        ]
    if not facts.is_installed:
        return [
            problem(
                "postgresql.not_installed", "Neverstale is not installed here", _RUN_INSTALL
            )
        ]
    return [
        *_find_in_capture(facts),
        *_find_in_rights(facts),
        *_find_in_access(facts),
        *_find_notes(facts),
    ]


def _find_in_capture(facts: DatabaseFacts) -> list[Finding]:
    found = [
        problem("postgresql.wrong_entry", text, _CORRECT_FILE) for text in facts.wrong_entries
    ]
    found += [
        problem("postgresql.changed_capture", one, _RUN_INSTALL) for one in facts.differences
    ]
    found += [
        problem(
            "postgresql.missing_trigger",
            f"trigger {name} on {table} is missing or differs",
            _RUN_INSTALL,
        )
        for table, name in facts.missing_triggers
    ]
    found += [
        problem(
            "postgresql.unknown_trigger",
            f"trigger {name} belongs to no [[watch]]",
            f"{_RUN_INSTALL} to drop it",
        )
        for name in facts.unknown_triggers
    ]
    if facts.is_disabled:
        found.append(
            problem(
                "postgresql.disabled", "capture is disabled", f"{_RUN_INSTALL} to enable it"
            )
        )
    found += [
        problem(
            "postgresql.foreign_trigger",
            f"trigger {name} on {table} sends cache_invalidate, which is lost while no "
            "listener runs",
            "drop it if the table is watched",
        )
        for table, name in facts.foreign_triggers
    ]
    return found


def _find_in_rights(facts: DatabaseFacts) -> list[Finding]:
    found = [
        problem(
            "postgresql.excess_right",
            f"{right.role} has {right.privileges} on {right.object}, which it does not need",
            right.statement,
        )
        for right in facts.excess_rights
    ]
    if facts.exposure:
        found.append(_split("postgresql.exposed_functions", facts.exposure))
    found += [
        _split(
            "postgresql.hidden_rows",
            one,
            before=f"the trigger functions belong to {facts.owner}: ",
        )
        for one in facts.hidden
    ]
    found += [
        problem("postgresql.secured_table", f"row-level security of {name} is on", _RUN_INSTALL)
        for name in facts.secured_tables
    ]
    return found


def _find_in_access(facts: DatabaseFacts) -> list[Finding]:
    found = []
    if facts.access_error:
        found.append(problem("postgresql.access_query", facts.access_error, _CORRECT_FILE))
    if facts.members_error:
        found.append(problem("postgresql.members_query", facts.members_error, _CORRECT_FILE))
    return found + [
        _split("postgresql.hidden_members", one) for one in facts.hidden_from_listeners
    ]


def _find_notes(facts: DatabaseFacts) -> list[Finding]:
    if facts.wrong_entries:
        return []  # they are about the entries, and were not read
    found = []
    if facts.max_prepared_transactions:
        found.append(
            note(
                "postgresql.prepared_transactions",
                f"max_prepared_transactions is {facts.max_prepared_transactions}: PREPARE "
                "TRANSACTION fails in a transaction that changed a watched table, since it has "
                "sent a NOTIFY",
                "use no two-phase commit for such transactions, or set it to 0",
            )
        )
    if facts.raw_notify_seen:
        found.append(
            note(
                "postgresql.raw_notify",
                "another producer has sent a NOTIFY cache_invalidate with a payload: since "
                "then, each change of leader and each lost session resets all clients (one may "
                "have been missed)",
                "when no producer sends them any more, run neverstale install "
                "--clear-raw-notify",
            )
        )
    if facts.restored_rows:
        found.append(
            note(
                "postgresql.restored_rows",
                f"{facts.restored_rows} rows of the change log were restored from a dump of "
                "another cluster: they are not published, and the next leader removes them",
                "to exclude them from dumps, use pg_dump --no-unlogged-table-data",
            )
        )
    found += [
        note(
            "postgresql.subscription",
            f"subscription {name} writes {table}: what logical replication applies is not "
            "captured",
            "watch the table in the database where it is changed, or call neverstale.notify()",
        )
        for table, name in facts.subscriptions
    ]
    found += [
        note(
            "postgresql.unbound_parent",
            f"watch ({one.watch}) {one.key}: looks up {one.table}, but no foreign key "
            "guarantees that the row exists: each INSERT and DELETE there resets the row's "
            "project",
            "add a foreign key if the row always exists",
        )
        for one in facts.unbound_parents
    ]
    found += [
        note(
            "postgresql.unwatched_look_up",
            f"watch ({one.watch}) {one.key}: looks up {one.table}, which is not watched: a "
            f"change there that gives rows another {one.key} is not captured",
            "add a [[watch]] for it",
        )
        for one in facts.unwatched_look_ups
    ]
    if not facts.has_members:
        found.append(
            note(
                "postgresql.no_members",
                "[access] members is missing: a change of a project is sent only to the user "
                "that the project's own row names",
                "set it",
            )
        )
    return found


def _split(id_: str, text: str, *, before: str = "") -> Finding:
    """Return a problem of a text that has the form ``what: what to do``."""
    what, _, todo = text.partition(": ")
    return problem(id_, before + what, todo)
