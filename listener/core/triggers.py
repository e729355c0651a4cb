"""Watches -> the SQL that captures their changes."""

import hashlib
import re
from collections.abc import Callable, Sequence
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
    may come and go by other tables of the tree.
    ``loose`` columns have a type without equality (json), one that calls values equal which are
    not written alike (numeric, citext), or that is written as a session likes it (timestamptz).
    ``unbounded`` columns have a type of variable length. ``types`` are those of the columns, as
    in SQL. ``own`` expressions are known to read nothing but the row: a NULL that they give
    stands in it.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    in_tree: bool = False
    loose: frozenset[str] = frozenset()
    unbounded: frozenset[str] = frozenset()
    types: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()

    @property
    def sql(self) -> str:
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"


@dataclass(frozen=True, slots=True)
class Capture:
    """What holds for all triggers: see ``invalidation.toml`` and ``LOG_MAX_BYTES``."""

    bulk_threshold: int
    log_max_bytes: int


@dataclass(frozen=True, slots=True)
class Parent:
    """How rows of watched tables look up this one, whose project is theirs.

    ``columns``: those that they read. ``is_bound``: foreign keys keep them from being without
    their parent, but for what a transaction does before its end.
    """

    columns: frozenset[str]
    is_bound: bool

    def merged(self, other: "Parent") -> "Parent":
        """The parent of the rows of both."""
        return Parent(self.columns | other.columns, self.is_bound and other.is_bound)


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


def plan_triggers(
    watch: Watch, table: Table, capture: Capture, parent: Parent | None = None
) -> tuple[Trigger, ...]:
    """The triggers that log every change of the table's rows; *parent* if others look it up.

    Statement-level with transition tables, which fire for cascades too. What a row was before
    it moved (another project, id or user) is logged by a row-level trigger, whose false WHEN
    costs next to nothing. In a tree a row that changes its partition fires no row-level
    trigger: there both transition tables are read. With columns to ignore, an UPDATE is
    captured row by row.
    """
    row = _Row(watch, table, capture, parent)
    plan = _Planner(
        table,
        capture,
        writes_text=bool(watch.ignore) or row.is_loose,
        columns=() if row.is_loose else tuple(row.placing),
        is_parent=parent is not None,
    )
    triggers = [
        plan.trigger("insert", "referencing new table as changed", row.log_inserted()),
        plan.trigger("delete", "referencing old table as changed", row.log_deleted()),
        plan.trigger("truncate", "", _LOG_TRUNCATE),
    ]
    both = "referencing old table as before new table as changed"
    if table.in_tree:
        triggers.append(plan.trigger("update", both, row.log_both()))
        return tuple(triggers)
    if watch.ignore:
        triggers.append(plan.row_trigger("update", "", row.skip_ignored + row.log_row()))
        return tuple(triggers)
    triggers.append(
        plan.trigger("update", "referencing new table as changed", row.log("UPDATE"))
    )
    if row.placing:
        when = f" when ({differ(row.placing, table)})"
        triggers.append(plan.row_trigger("moved", when, row.log_moved()))
    return tuple(triggers)


_LOG_TRUNCATE: Final = """\
  insert into neverstale.change_log (resource, action) values ('truncate', 'RECONNECT');
"""
_INSERT: Final = (
    "  insert into neverstale.change_log (project_id, user_id, resource, id, action)\n"
)
_IF_IT_FAILS: Final = "  exception when others or assert_failure then"
_MAX_REMEMBERED: Final = 100  # projects; a transaction that deletes of more concerns everybody


class _Row:
    """How a row of a watched table is told: SQL over a source whose columns are the row's.

    A NULL in a project column, or of an expression over the row alone, means that the row
    belongs to none, so only its user is told. A NULL that a look-up gives means that the parent
    is gone: then nobody knows whom it concerns, and all are. A user whom a look-up does not
    find is logged as an empty text, which names nobody: all of the project are asked for.

    No query that reads the table's columns names a variable of the function (but for OLD and
    NEW, with a column): a column of that name would be meant instead.
    """

    def __init__(
        self, watch: Watch, table: Table, capture: Capture, parent: Parent | None
    ) -> None:
        self._watch = watch
        self._table = table
        self._threshold = capture.bulk_threshold
        self._parent = parent
        self.project = expression_sql(watch.project, table) if watch.project else "null"
        self._user = expression_sql(watch.user, table) if watch.user else "null"
        if watch.user and not _is_own(watch.user, table):
            self._user = f"coalesce({self._user}, '')"
        self._id = expression_sql(watch.id, table) if watch.id else "null"
        # or as good as one: a NULL of it stands in the row
        self._is_column = watch.project is not None and _is_own(watch.project, table)
        found = {
            name for text in watch.expressions.values() for name in columns_in(text, table)
        }
        rooting: set[str] = set()  # what those below a parent may look up
        if parent is not None:
            rooting |= columns_in(watch.id or "", table) | columns_in(
                watch.project or "", table
            )
            rooting |= parent.columns & set(table.columns)
        self._rooting = sorted(rooting)
        self.placing = sorted(found | rooting)
        named = (plain_column(text, table) for text in watch.expressions.values())
        self.is_loose = any(column is None or column in table.loose for column in named)
        if table.in_tree:  # there these are compared as jsonb, which not every value can be
            self.is_loose |= not rooting.isdisjoint(table.loose)

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
            f"{_IF_IT_FAILS} null;\n"
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

    def log(self, action: str, besides: str = "") -> str:
        """Log each row; a project with more rows than the threshold is one reconnect.

        A table with users, or of projects, is logged row by row: nobody's own change may be
        lost in bulk.
        """
        every = self.told(quote_literal(action), "changed")
        many = f"{_INSERT}{every}"
        many += ";\n" if self._watch.is_kept else self._beyond_threshold(every)
        return self._log_few(every, self._threshold, many, besides)

    def _beyond_threshold(self, every: str) -> str:
        threshold = self._threshold
        return f"""
   limit {threshold + 1};
  get diagnostics neverstale_logged = row_count;
  if neverstale_logged > {threshold} then
    select array_agg(p) filter (where p is not null and n > {threshold}),
           sum(n) filter (where p is null or n <= {threshold})
      into neverstale_heavy, neverstale_logged
      from (select {self.project} as p, count(*) as n from changed group by 1) as counted;
    insert into neverstale.change_log (project_id, resource, action)
    select unnest(neverstale_heavy), 'bulk_change', 'RECONNECT';
    if neverstale_logged > 0 then
    {_INSERT}  select * from (
{every}
      ) as told (project_id, user_id, resource, id, action)
     where (project_id = any (neverstale_heavy)) is not true;
    end if;
  end if;
"""

    def _log_few(self, told: str, most: int, many: str, besides: str = "") -> str:
        """Log what the query *told* finds, if that is at most so much, else what *many* does;
        and do what is *besides*.

        Few rows are computed inside the block that catches errors and written behind it: a
        block that writes takes a transaction id, and a transaction with many of them slows down
        all sessions.
        """
        if not self.is_loose:
            return many + besides
        return self._guard(f"""\
    neverstale_rows := array(
      select array[project_id, user_id, resource, id, action] from (
{told}
       limit {most + 1}) as told (project_id, user_id, resource, id, action));
    if array_length(neverstale_rows, 1) > {most} then
      neverstale_rows := null;
{many}    end if;
{besides}""")

    def _guard(self, body: str) -> str:
        """An expression that fails is a reconnect of everybody, which says where and why: no
        write of the app's may fail for it.
        """
        if not self.is_loose:
            return body
        failed = quote_literal(f"{self._table.sql}: SQLSTATE ")
        below = "    insert into neverstale.moved values (null);\n" if self._parent else ""
        return f"""\
  begin
{body}{_IF_IT_FAILS}
    neverstale_rows :=
      array[array[null, null, 'bulk_change', {failed} || sqlstate, 'RECONNECT']];
{below}  end;
{_INSERT}  select neverstale_rows[n][1], neverstale_rows[n][2], neverstale_rows[n][3],
         neverstale_rows[n][4], neverstale_rows[n][5]
    from generate_subscripts(neverstale_rows, 1) as n;
"""

    def _projects(self, source: str) -> str:
        known = f" where {self.project} is not null" if self._is_column else ""
        return f"select {self.project} from {source}{known}"

    def log_inserted(self) -> str:
        """Log inserted rows; of a parent that replaces one, all below both."""
        if self._parent is None:
            return self.log("INSERT")
        if not self._parent.is_bound:
            return self.log("INSERT", _widen_below(self._projects("changed")))
        both = f"{self._deleted} union all {self._projects('changed')}"
        widened = _widen_below(both)
        remembered = (
            f"  if current_setting({self._memory}, true) <> '' then\n{widened}  end if;\n"
        )
        return self.log("INSERT", remembered)

    def log_deleted(self) -> str:
        """Log deleted rows; of a parent, what those below need if another takes its place."""
        if self._parent is None:
            return self.log("DELETE")
        projects = self._projects("changed")
        if not self._parent.is_bound:
            return self.log("DELETE", _widen(projects))
        return self.log(
            "DELETE",
            f"  perform set_config({self._memory}, coalesce((\n"
            f"    select case when count(distinct p) > {_MAX_REMEMBERED} then '{{NULL}}'\n"
            "           else array_agg(distinct p)::text end\n"
            f"      from ({self._deleted} union all {projects}) as deleted (p)), ''), true);\n",
        )

    @property
    def _memory(self) -> str:
        """The setting that has, until its end, of which projects a transaction deleted rows."""
        digest = hashlib.sha256(self._watch.table.encode()).hexdigest()[:8]
        return quote_literal(f"neverstale.deleted_{digest}")

    @property
    def _deleted(self) -> str:
        return f"select unnest(nullif(current_setting({self._memory}, true), '')::text[])"

    def _told_old(self, *conditions: str) -> str:
        """What the row was, as it is told: of a project with another owner now, LOST."""
        old = "(select old.*) as changed"
        if not (self._watch.is_project and self._watch.user):
            return self.told("'UPDATE'", old, *conditions)
        now = f"(select {self._user} from (select new.*) as changed)"
        lost = f"case when {self._user} is distinct from {now} then 'LOST' else 'UPDATE' end"
        return self.told(lost, old, *conditions)

    @property
    def _widen_moved(self) -> str:
        """Of a parent that moved, widen both projects: all below it moved too."""
        if not self._rooting:
            return ""
        both = "(select old.* union all select new.*) as changed"
        widened = _widen_below(self._projects(both))
        return f"  if {differ(self._rooting, self._table)} then\n{widened}  end if;\n"

    def log_moved(self) -> str:
        """Log what a row was before it moved. Its users are told even where it widens."""
        if self._rooting and not self._watch.user:
            return self._guard(self._widen_moved)
        old = self._told_old()
        return self._log_few(old, 1, f"{_INSERT}{old};\n", self._widen_moved)

    def log_row(self) -> str:
        """Log the row of a row-level trigger, and what it was if it moved."""
        told = self.told("'UPDATE'", "(select new.*) as changed")
        if self.placing:
            moved = f"({differ(self.placing, self._table)})"
            told += f"\n  union all\n{self._told_old(moved)}"
        return self._log_few(told, 2, f"{_INSERT}{told};\n", self._widen_moved)

    def _images(self, source: str) -> tuple[str, int, str]:
        """How rows of the source are logged, each once: a query of what is told, how many of
        those are few, and how many are logged: more than that widen.
        """
        told = self.told("'UPDATE'", source).replace("select ", "select distinct ", 1)
        most = 2 * self._threshold  # each row may be told twice
        if self._watch.is_kept:
            return told, most, f"{_INSERT}{told};\n"
        many = (
            f"{_INSERT}{told}\n   limit {most + 1};\n"
            "  get diagnostics neverstale_logged = row_count;\n"
            f"  if neverstale_logged > {most} then\n"
            f"{_widen(self._projects(source))}  end if;\n"
        )
        return told, most, many

    def log_both(self) -> str:
        """Log what the statement's rows were and are.

        Ignored columns are left out of the comparison; what can't be compared counts.
        """
        every = "(select * from before union all select * from changed) as changed"
        besides = ""
        if self._watch.is_project and self._watch.user:
            pair = f"{self.project}, {self._user}"
            lost = (
                f"({pair}) in (select {pair} from before as changed"
                f" except select {pair} from changed)"
            )
            besides += _INSERT + self.told("'LOST'", "before as changed", lost) + ";\n"
        if self._rooting:
            names = [quote_identifier(column) for column in self._rooting]
            moved = _unlike(
                lambda row: f"jsonb_build_array({', '.join(f'{row}.{n}' for n in names)})::text"
            )
            besides += _widen_below(self._projects(moved))
        told, most, many = self._images(every)
        if not self._watch.ignore:
            return self._log_few(told, most, many, besides)
        ignored = ", ".join(map(quote_literal, self._watch.ignore))
        differing = _unlike(lambda row: f"(to_jsonb({row}.*) - array[{ignored}]::text[])::text")
        _, _, seen = self._images(differing)
        return self._guard(f"  begin\n{seen}{_IF_IT_FAILS}\n{many}  end;\n{besides}")


def _widen(projects: str) -> str:
    """Log a reconnect of each of the projects."""
    return (
        "  insert into neverstale.change_log (project_id, resource, action)\n"
        "  select distinct project_id, 'bulk_change', 'RECONNECT'\n"
        f"    from ({projects}) as widened (project_id);\n"
    )


def _widen_below(projects: str) -> str:
    """Of a parent that moved or was replaced: its projects, now and when nobody writes below it
    any more who looked it up before.
    """
    return (
        f"{_widen(projects)}"
        "  insert into neverstale.moved (project_id)\n"
        f"  select distinct project_id from ({projects}) as widened (project_id);\n"
    )


def _unlike(image: Callable[[str], str]) -> str:
    """The rows of both transition tables whose image the other lacks.

    As the text of jsonb, since every type has that, and not every type an equality that tells
    all that is written differently apart.
    """
    parts = (
        f"select * from {here} as here where not exists (select from {there} as there"
        f" where {image('there')} = {image('here')})"
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


def _is_own(text: str, table: Table) -> bool:
    """Whether the text is known to read nothing but the row."""
    return plain_column(text, table) is not None or text in table.own


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
    columns: tuple[str, ...]  # that the body names outside of a block that catches errors
    is_parent: bool

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
        settings = f"set search_path = {SEARCH_PATH} set row_security = off"
        settings += self.writes_text * _SPELLING
        text = f"""\
#variable_conflict use_column
declare
  neverstale_heavy text[];
  neverstale_logged bigint;
  neverstale_row record;
  neverstale_rows text[];
begin
  if {LOG_BYTES} > {self.capture.log_max_bytes} then
    perform pg_catalog.nextval('neverstale.skips');
    return null;
  end if;
{self._check_columns()}{body}  return null;
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

    def _check_columns(self) -> str:
        """A column that was renamed is a reconnect of everybody: no write of the app's may fail
        for it. What is asked for a column that is not there is an error.
        """
        if not self.columns:
            return ""
        asked = " or ".join(
            f"has_column_privilege(tg_relid, {quote_literal(name)}, 'SELECT') is null"
            for name in self.columns
        )
        failed = quote_literal(f"{self.table.sql}: SQLSTATE ")
        below = "    insert into neverstale.moved values (null);\n" if self.is_parent else ""
        return f"""\
  begin
    if {asked} then
      return null;
    end if;
  exception when undefined_column then
    insert into neverstale.change_log (resource, id, action)
    values ('bulk_change', {failed} || sqlstate, 'RECONNECT');
{below}    return null;
  end;
"""


def _dollar_quoted(text: str) -> str:
    tag, number = "$neverstale$", 0
    while tag in text:
        number += 1
        tag = f"$neverstale{number}$"
    return f"{tag}\n{text}\n{tag}"
