"""Which rows of the change log a changed row becomes: SQL over its images."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from listener.capture.expressions import (
    Table,
    columns_in,
    differ,
    expression_sql,
    is_own,
    plain_column,
    quote_identifier,
    quote_literal,
)
from listener.capture.watches import Watch

_INSERT: Final = (
    "  insert into neverstale.change_log (project_id, user_id, resource, id, action)\n"
)
_IF_IT_FAILS: Final = "  exception when others or assert_failure then"
_MAX_REMEMBERED: Final = 100  # projects; a transaction that deletes of more concerns everybody


@dataclass(frozen=True, slots=True)
class CaptureLimits:
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


class LoggedRow:
    """How a row of a watched table is told: SQL over a source whose columns are the row's.

    A NULL in a project column, or of an expression over the row alone, means that the row
    belongs to none, so only its user is told. A NULL that a look-up gives means that the parent
    is gone: then nobody knows whom it concerns, and all are. A user whom a look-up does not
    find is logged as an empty text, which names nobody: all of the project are asked for.

    No query that reads the table's columns names a variable of the function (but for OLD and
    NEW, with a column): a column of that name would be meant instead.
    """

    def __init__(
        self, watch: Watch, table: Table, capture: CaptureLimits, parent: Parent | None
    ) -> None:
        self._watch = watch
        self._table = table
        self._threshold = capture.bulk_threshold
        self._parent = parent
        self.project = expression_sql(watch.project, table) if watch.project else "null"
        self._user = expression_sql(watch.user, table) if watch.user else "null"
        if watch.user and not is_own(watch.user, table):
            self._user = f"coalesce({self._user}, '')"
        self._id = expression_sql(watch.id, table) if watch.id else "null"
        # or as good as one: a NULL of it stands in the row
        self._is_column = watch.project is not None and is_own(watch.project, table)
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
