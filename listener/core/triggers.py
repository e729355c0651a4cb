"""Watches -> the SQL that captures their changes."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from listener.core.watches import Watch
from shared.core.channels import MAX_ID_BYTES

TRIGGER_PREFIX: Final = "neverstale_"
# Where pg_temp is not named, a session's own types are found first, and run what they like as
# the functions' owner (CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely").
SEARCH_PATH: Final = "pg_catalog, pg_temp"
# The size of the change log. Its rows are too short for TOAST (see schema.sql), so table and
# its index are all. neverstale.notify() and read.sql use the same expression.
LOG_BYTES: Final = (
    "pg_catalog.pg_relation_size('neverstale.change_log')"
    " + pg_catalog.pg_relation_size('neverstale.change_log_xid')"
)
# A value is written alike whatever the session has set. (Rounded, two floats may be one text.)
_SPELLING: Final = (
    " set timezone = 'UTC' set datestyle = 'ISO, MDY' set intervalstyle = 'postgres'"
    " set bytea_output = 'hex' set extra_float_digits = 1 set standard_conforming_strings = on"
)
_QUALIFIED: Final = re.compile(r"\bchanged\s*\.\s*(?!\*)", re.IGNORECASE)
_CONSTANT: Final = re.compile(r"'(?:[^']|'')*'")
_WORD: Final = re.compile(r'"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)')


@dataclass(frozen=True, slots=True)
class Table:
    """A watched table as the database describes it.

    ``in_tree``: it is partitioned, a partition, or has or is an inheritance child, so its rows
    may come and go by other tables of the tree; ``root`` is then the name of the watched one.
    ``loose`` columns have a type without equality (json), one that calls values equal which are
    not written alike (numeric, citext), or that is written as a session likes it (timestamptz).
    ``unbounded`` columns have a type of variable length. ``types`` are those of the columns, as
    in SQL.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    in_tree: bool = False
    loose: frozenset[str] = frozenset()
    root: str = ""
    unbounded: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class Capture:
    """What holds for all triggers: see ``invalidation.toml`` and ``LOG_MAX_BYTES``.

    ``parents`` are the words of all project expressions: a table among them is looked up by
    the rows of others, whose project changes with its own.
    """

    bulk_threshold: int
    log_max_bytes: int
    parents: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger with the function of its own; ``digest`` changes with anything in its SQL."""

    table: Table
    name: str
    function: str
    statements: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]

    @property
    def source(self) -> str:
        """The body of the function as PostgreSQL stores it."""
        quoted = self.statements[0].partition(" as\n")[2].removesuffix(";")
        tag = quoted.partition("\n")[0]
        return quoted.removeprefix(tag).removesuffix(tag)

    @property
    def comment(self) -> str:
        """The comment of the function, by which ``install`` finds the trigger unchanged, and a
        leader what was installed (capture.sql).
        """
        source = hashlib.sha256(self.source.encode()).hexdigest()
        return f"neverstale {self.digest} {source} {self.table.sql}"

    @property
    def sql(self) -> str:
        """All its statements."""
        comment = f"comment on function {self.function}() is {quote_literal(self.comment)};"
        return "\n".join((*self.statements, comment))


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string constant that reads the same whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


def plan_capture(
    watches: Sequence[Watch], *, bulk_threshold: int, log_max_bytes: int
) -> Capture:
    """What holds for the triggers of all these watches together."""
    words = {word for watch in watches for word in _words(watch.project or "")}
    return Capture(bulk_threshold, log_max_bytes, frozenset(words))


def plan_triggers(watch: Watch, table: Table, capture: Capture) -> tuple[Trigger, ...]:
    """The triggers that log every change of the table's rows.

    Statement-level with transition tables, which fire for cascades too. What a row was before
    it moved (another project, id or user) is logged by a row-level trigger, whose false WHEN
    costs next to nothing. In a tree a row that changes its partition fires no row-level
    trigger: there both transition tables are read. With columns to ignore, an UPDATE is
    captured row by row.
    """
    row = _Row(watch, table)
    plan = _Planner(table, capture, writes_text=bool(watch.ignore) or row.is_loose)
    triggers = [
        plan.trigger("insert", "referencing new table as changed", row.log("INSERT", capture)),
        plan.trigger("delete", "referencing old table as changed", row.log("DELETE", capture)),
        plan.trigger("truncate", "", _LOG_TRUNCATE),
    ]
    both = "referencing old table as before new table as changed"
    if table.in_tree:
        triggers.append(plan.trigger("update", both, row.log_both(capture)))
        return tuple(triggers)
    if watch.ignore:
        body = row.skip_ignored + row.log_one("new") + row.log_moved(capture, guarded=True)
        triggers.append(plan.row_trigger("update", "", body))
        return tuple(triggers)
    triggers.append(
        plan.trigger("update", "referencing new table as changed", row.log("UPDATE", capture))
    )
    if row.placing:
        when = f" when ({differ(row.placing, table)})"
        triggers.append(plan.row_trigger("moved", when, row.log_moved(capture)))
    return tuple(triggers)


_LOG_TRUNCATE: Final = """\
  insert into neverstale.change_log (resource, action) values ('truncate', 'RECONNECT');
"""
_INSERT: Final = (
    "  insert into neverstale.change_log (project_id, user_id, resource, id, action)\n"
)


class _Row:
    """How a row of a watched table is told: SQL over a source whose columns are the row's.

    A NULL in a plain project column means that the row belongs to none, so only its user is
    told. A NULL that an expression gives means that its parent is gone: then nobody knows whom
    it concerns, and all are.
    """

    def __init__(self, watch: Watch, table: Table) -> None:
        self._watch = watch
        self._table = table
        self.project = expression_sql(watch.project, table) if watch.project else "null"
        self._user = expression_sql(watch.user, table) if watch.user else "null"
        self._id = expression_sql(watch.id, table) if watch.id else "null"
        self._is_column = watch.project is not None and bool(plain_column(watch.project, table))
        found = {
            name for text in watch.expressions.values() for name in columns_in(text, table)
        }
        self.placing = sorted(found)
        named = (plain_column(text, table) for text in watch.expressions.values())
        self.is_loose = any(column is None or column in table.loose for column in named)
        project = {*columns_in(watch.id or "", table), *columns_in(watch.project or "", table)}
        self._rooting = sorted(project)  # what those below a parent may look up

    @property
    def skip_ignored(self) -> str:
        """Return from a row-level trigger if nothing else changed.

        Only ignored columns are named, so that those of later count, and all others may be
        altered. As text, which every type has. What can't be compared counts: no write of the
        app's may fail for it.
        """
        names = map(quote_identifier, self._watch.ignore)
        same = "".join(f"    neverstale_row.{name} := old.{name};\n" for name in names)
        return (
            "  begin\n"
            "    neverstale_row := new;\n"
            f"{same}"
            "    if neverstale_row::text is not distinct from old::text then\n"
            "      return null;\n"
            "    end if;\n"
            "  exception when others then null;\n"
            "  end;\n"
        )

    def told(self, action: str, source: str, *conditions: str) -> str:
        """A query of the log's rows for the source's; the action is an SQL expression."""
        resource = quote_literal(self._watch.resource)
        wanted = list(conditions)
        if self._is_column:
            own = f" or {self._user} is not null" if self._watch.user else ""
            wanted.append(f"({self.project} is not null{own})")
        elif self._watch.project is not None:
            lost = f"{self.project} is null"
            resource = f"case when {lost} then 'bulk_change' else {resource} end"
            action = f"case when {lost} then 'RECONNECT' else {action} end"
        where = f"\n   where {' and '.join(wanted)}" if wanted else ""
        return (
            f"  select {self.project}, {self._user}, {resource}, {self._id}, {action}\n"
            f"    from {source}{where}"
        )

    def log(self, action: str, capture: Capture, source: str = "changed") -> str:
        """Log each row; a project with more rows than the threshold is one reconnect.

        A table with users, or of projects, is logged row by row: nobody's own change may be
        lost in bulk.
        """
        action = quote_literal(action)
        every = _INSERT + self.told(action, source)
        if self._watch.is_kept:
            return f"{every};\n"
        return every + self._beyond_threshold(action, capture, source)

    def _beyond_threshold(self, action: str, capture: Capture, source: str) -> str:
        threshold = capture.bulk_threshold
        light = f"({self.project} in (select unnest(neverstale_heavy))) is not true"
        return f"""
   limit {threshold + 1};
  get diagnostics neverstale_logged = row_count;
  if neverstale_logged > {threshold} then
    select array_agg(p) filter (where p is not null and n > {threshold}),
           sum(n) filter (where p is null or n <= {threshold})
      into neverstale_heavy, neverstale_logged
      from (select {self.project} as p, count(*) as n from {source} group by 1) as counted;
    insert into neverstale.change_log (project_id, resource, action)
    select unnest(neverstale_heavy), 'bulk_change', 'RECONNECT';
    if neverstale_logged > 0 then
      {_INSERT}{self.told(action, source, light)};
    end if;
  end if;
"""

    def widen(self, source: str) -> str:
        """Log a reconnect of each project of the source."""
        return (
            "  insert into neverstale.change_log (project_id, resource, action)\n"
            f"  select distinct {self.project}, 'bulk_change', 'RECONNECT'\n"
            f"    {self._from_known(source)};\n"
        )

    def _from_known(self, source: str) -> str:
        known = f" where {self.project} is not null" if self._is_column else ""
        return f"from {source}{known}"

    def _widen_below(self, source: str) -> str:
        """Of a parent that moved: both projects, now and when nobody writes below it any more
        who looked it up before.
        """
        return (
            f"{self.widen(source)}"
            f"  insert into neverstale.moved (project_id)\n"
            f"  select distinct {self.project} {self._from_known(source)};\n"
        )

    def log_one(self, record: str, action: str = "'UPDATE'") -> str:
        """Log the one row of a row-level trigger."""
        return _INSERT + self.told(action, f"(select {record}.*) as changed") + ";\n"

    def _log_old(self) -> str:
        """Log what the row was: of a project with another owner now, that it was LOST."""
        if not (self._watch.is_project and self._watch.user):
            return self.log_one("old")
        now = f"(select {self._user} from (select new.*) as changed)"
        lost = f"case when {self._user} is distinct from {now} then 'LOST' else 'UPDATE' end"
        return self.log_one("old", lost)

    def _is_parent(self, capture: Capture) -> bool:
        return (self._table.root or self._table.name) in capture.parents

    def log_moved(self, capture: Capture, *, guarded: bool = False) -> str:
        """Log what a row was before it moved.

        Of a parent, widen both projects: all below it moved too. Its users are told even so.
        """
        logged = self._log_old()
        if self._is_parent(capture) and self._rooting:
            widened = self._widen_below("(select old.* union all select new.*) as changed")
            moved = f"  if {differ(self._rooting, self._table)} then\n{widened}  end if;\n"
            logged = moved + logged if self._watch.user else widened
        if not guarded or not self.placing:
            return logged if self.placing else ""
        return f"  if {differ(self.placing, self._table)} then\n{logged}  end if;\n"

    def _log_images(self, source: str, capture: Capture) -> str:
        """Log rows of the source, each once; more than twice the threshold widen."""
        told = self.told("'UPDATE'", source).replace("select ", "select distinct ", 1)
        if self._watch.is_kept:
            return f"{_INSERT}{told};\n"
        most = 2 * capture.bulk_threshold  # each row may be told twice
        return (
            f"{_INSERT}{told}\n   limit {most + 1};\n"
            "  get diagnostics neverstale_logged = row_count;\n"
            f"  if neverstale_logged > {most} then\n{self.widen(source)}  end if;\n"
        )

    def log_both(self, capture: Capture) -> str:
        """Log what the statement's rows were and are.

        Ignored columns are left out of the comparison; what can't be compared counts.
        """
        every = "(select * from before union all select * from changed) as changed"
        logged = self._log_images(every, capture)
        if self._watch.ignore:
            ignored = ", ".join(map(quote_literal, self._watch.ignore))
            differing = _unlike(f"(to_jsonb(%s) - array[{ignored}]::text[])::text")
            seen = self._log_images(differing, capture)
            logged = f"  begin\n{seen}  exception when others then\n{logged}  end;\n"
        if self._watch.is_project and self._watch.user:
            pair = f"{self.project}, {self._user}"
            lost = (
                f"({pair}) in (select {pair} from before as changed"
                f" except select {pair} from changed)"
            )
            logged += _INSERT + self.told("'LOST'", "before as changed", lost) + ";\n"
        if self._is_parent(capture) and self._rooting:
            rooting = ", ".join(f"%s.{quote_identifier(column)}" for column in self._rooting)
            logged += self._widen_below(_unlike(f"jsonb_build_array({rooting})::text"))
        return logged


def _unlike(image: str) -> str:
    """The rows of both transition tables whose image (of the row %s) the other lacks.

    As the text of jsonb, since every type has that, and not every type an equality that tells
    all that is written differently apart.
    """
    parts = (
        f"select * from {here} as here where not exists (select from {there} as there"
        f" where {image.replace('%s', 'there')} = {image.replace('%s', 'here')})"
        for here, there in (("before", "changed"), ("changed", "before"))
    )
    return f"({' union all '.join(parts)}) as changed"


def differ(columns: Sequence[str], table: Table) -> str:
    """A condition on OLD and NEW: one of the columns changed."""
    conditions = []
    for column in columns:
        cast = '::text collate "C"' if column in table.loose else ""
        name = quote_identifier(column) + cast
        conditions.append(f"old.{name} is distinct from new.{name}")
    return " or ".join(conditions)


def columns_in(expression: str, table: Table) -> set[str]:
    """The table's columns that an expression may mention.

    Its words that are names of columns.
    """
    words = _words(_QUALIFIED.sub("", expression))
    if words & {table.name, "changed"}:
        return set(table.columns)  # a whole-row reference mentions them all
    return words & set(table.columns)


def _words(expression: str) -> set[str]:
    """All that may be a name in it; a quote within a string constant hides none."""
    return {
        quoted.replace('""', '"') if quoted else _fold(plain)
        for text in (expression, _CONSTANT.sub(" ", expression))
        for quoted, plain in _WORD.findall(text)
    }


def _fold(name: str) -> str:
    """As PostgreSQL folds a name without quotes in UTF-8: ASCII alone."""
    return re.sub("[A-Z]+", lambda found: found[0].lower(), name)


def expression_sql(text: str, table: Table) -> str:
    """A column or an expression over the row, as SQL that yields text.

    Its collation tells apart all that is written differently. A value that is too long for an
    id is cut to one that still is too long, so that no row of the log is large.
    """
    column = plain_column(text, table)
    value = f"{quote_identifier(column) if column else f'({text})'}::text"
    if column is None or column in table.unbounded:
        value = f"left({value}, {MAX_ID_BYTES + 1})"
    return f'{value} collate "C"'


def plain_column(text: str, table: Table) -> str | None:
    """The column that the text names, if it is nothing but that."""
    found = _WORD.fullmatch(text.strip())
    if not found:
        return None
    quoted, plain = found.groups()
    name = quoted.replace('""', '"') if quoted else _fold(plain)
    return name if name in table.columns else None


@dataclass(frozen=True, slots=True)
class _Planner:
    """Wraps the body of a function into it, and the function into its trigger."""

    table: Table
    capture: Capture
    writes_text: bool

    def trigger(self, name: str, referencing: str, body: str) -> Trigger:
        """A statement-level trigger of the event that it is named for."""
        return self._made(name, name, f"{referencing} for each statement".strip(), body)

    def row_trigger(self, name: str, when: str, body: str) -> Trigger:
        """A row-level trigger of UPDATEs, of all or of those of which *when* holds."""
        return self._made(name, "update", f"for each row{when}", body)

    def _made(self, name: str, event: str, clauses: str, body: str) -> Trigger:
        table = self.table
        digest = hashlib.sha256(f"{table.sql} {name}".encode()).hexdigest()[:8]
        short = f"{table.name.encode()[:40].decode(errors='ignore')}_{name}_{digest}"
        function = f"neverstale.{quote_identifier(short)}"
        trigger = quote_identifier(TRIGGER_PREFIX + name)
        settings = f"set search_path = {SEARCH_PATH}" + self.writes_text * _SPELLING
        text = f"""\
#variable_conflict use_column
declare
  neverstale_heavy text[];
  neverstale_logged bigint;
  neverstale_row record;
begin
  if {LOG_BYTES} > {self.capture.log_max_bytes} then
    perform pg_catalog.nextval('neverstale.skips');
    return null;
  end if;
{body}  return null;
end"""
        return Trigger(
            table,
            TRIGGER_PREFIX + name,
            function,
            (
                f"create or replace function {function}() returns trigger\n"
                f"language plpgsql security definer {settings} as\n"
                f"{_dollar_quoted(text)};",
                f"create or replace trigger {trigger} after {event} on {table.sql}\n"
                f"  {clauses} execute function {function}();",
                f"alter table {table.sql} enable always trigger {trigger};",
            ),
        )


def _dollar_quoted(text: str) -> str:
    tag, number = "$neverstale$", 0
    while tag in text:
        number += 1
        tag = f"$neverstale{number}$"
    return f"{tag}\n{text}\n{tag}"
