"""The statements of the trigger functions of a watched table, as SQL."""

from typing import Final

from listener.capture.expressions import (
    Table,
    differ,
    quote_identifier,
    quote_literal,
    unlike,
)
from listener.capture.log_actions import LOST, RECONNECT
from listener.capture.logged_rows import (
    INSERT_ROWS,
    RESET,
    LoggedRow,
    Parent,
    reset_projects,
)
from listener.capture.parent_resets import ParentResets
from listener.capture.watches import Watch

LOG_TRUNCATE: Final = f"""\
  insert into neverstale.change_log (resource, action) values ('truncate', '{RECONNECT}');
"""
_ON_ANY_ERROR: Final = "  exception when others or assert_failure then"


class FunctionBodies:
    """What the trigger functions of one table do, as PL/pgSQL.

    No query that reads the table's columns names a variable of the function (except OLD and
    NEW, with a column): a column of the same name would be read instead.
    """

    def __init__(
        self, watch: Watch, table: Table, threshold: int, parent: Parent | None
    ) -> None:
        self.row = LoggedRow(watch, table, parent)
        self._watch = watch
        self._table = table
        self._threshold = threshold
        self._resets = ParentResets(watch, table, self.row, parent)
        self._failure = quote_literal(f"{table.sql}: SQLSTATE ")

    @property
    def check_columns(self) -> str:
        """Reset everything if a column was renamed or dropped, instead of failing the write.

        Where the statements catch all errors, no check is needed. ``has_column_privilege``
        raises an error for a column that does not exist.
        """
        if self.row.is_loose or not self.row.routing_columns:
            return ""
        is_missing = " or ".join(
            f"has_column_privilege(tg_relid, {quote_literal(name)}, 'SELECT') is null"
            for name in self.row.routing_columns
        )
        return f"""\
  begin
    if {is_missing} then
      return null;
    end if;
  exception when undefined_column then
    insert into neverstale.change_log (resource, id, action)
    values ('bulk_change', {self._failure} || sqlstate, '{RECONNECT}');
{self._resets.everything_below}    return null;
  end;
"""

    @property
    def skip_ignored(self) -> str:
        """Return from a row-level trigger if only ignored columns changed.

        Only these are named, so a column that is added later counts and all others may be
        altered. Rows are compared as text, which every type has. A row that cannot be compared
        counts as changed: the app's write must not fail.
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
            f"{_ON_ANY_ERROR} null;\n"
            "  end;\n"
        )

    def log_inserted(self) -> str:
        """Log inserted rows."""
        return self._log_changed("INSERT", self._resets.inserted())

    def log_deleted(self) -> str:
        """Log deleted rows."""
        return self._log_changed("DELETE", self._resets.deleted())

    def log_updated(self) -> str:
        """Log updated rows as they are now."""
        return self._log_changed("UPDATE", "")

    def log_moved(self) -> str:
        """Log a row as it was before it moved.

        A parent without a user resets its projects instead; with one, its user is logged too.
        """
        if self.row.looked_up_columns and not self._watch.user:
            return self._catch_errors(self._resets.moved_row())
        old = self._select_old()
        return self._log_few(old, 1, f"{INSERT_ROWS}{old};\n", self._resets.moved_row())

    def log_row(self) -> str:
        """Log the row of a row-level trigger, and as it was if it moved."""
        query = self.row.select("'UPDATE'", "(select new.*) as changed")
        if self.row.routing_columns:
            moved = f"({differ(self.row.routing_columns, self._table)})"
            query += f"\n  union all\n{self._select_old(moved)}"
        return self._log_few(query, 2, f"{INSERT_ROWS}{query};\n", self._resets.moved_row())

    def log_both(self) -> str:
        """Log the statement's rows as they were and as they are.

        Ignored columns are left out of the comparison. Rows that cannot be compared count as
        changed.
        """
        besides = self._log_lost() + self._resets.moved_rows()
        both = "(select * from before union all select * from changed) as changed"
        every = self._insert_images(both)
        if not self._watch.ignore:
            query = self._select_images(both)
            return self._log_few(query, 2 * self._threshold, every, besides)
        ignored = ", ".join(map(quote_literal, self._watch.ignore))
        differing = unlike(lambda row: f"(to_jsonb({row}.*) - array[{ignored}]::text[])::text")
        changed = self._insert_images(differing)
        return self._catch_errors(
            f"  begin\n{changed}{_ON_ANY_ERROR}\n{every}  end;\n{besides}"
        )

    def _log_changed(self, action: str, besides: str) -> str:
        """Log each row; a project with more rows than the threshold gets one reset.

        A table with users, or of projects, is logged row by row: in bulk, a user would miss
        their own change.
        """
        every = self.row.select(quote_literal(action), "changed")
        many = f"{INSERT_ROWS}{every}"
        many += ";\n" if self._watch.logs_every_row else self._reset_beyond_threshold(every)
        return self._log_few(every, self._threshold, many, besides)

    def _reset_beyond_threshold(self, every: str) -> str:
        threshold = self._threshold
        return f"""
   limit {threshold + 1};
  get diagnostics neverstale_logged = row_count;
  if neverstale_logged > {threshold} then
    select array_agg(p) filter (where p is not null and n > {threshold}),
           sum(n) filter (where p is null or n <= {threshold})
      into neverstale_heavy, neverstale_logged
      from (select {self.row.project} as p, count(*) as n from changed group by 1) as counted;
    insert into neverstale.change_log (project_id, resource, action)
    select unnest(neverstale_heavy), {RESET};
    if neverstale_logged > 0 then
    {INSERT_ROWS}  select * from (
{every}
      ) as told (project_id, user_id, resource, id, action)
     where (project_id = any (neverstale_heavy)) is not true;
    end if;
  end if;
"""

    def _log_few(self, query: str, max_rows: int, many: str, besides: str) -> str:
        """Log the rows of *query* if there are at most *max_rows*, otherwise run *many*.

        Then run *besides*. Few rows are computed inside the block that catches errors and
        written after it: a block that writes takes a transaction id, and a transaction with
        many of them slows down all sessions.
        """
        if not self.row.is_loose:
            return many + besides
        return self._catch_errors(f"""\
    neverstale_rows := array(
      select array[project_id, user_id, resource, id, action] from (
{query}
       limit {max_rows + 1}) as told (project_id, user_id, resource, id, action));
    if array_length(neverstale_rows, 1) > {max_rows} then
      neverstale_rows := null;
{many}    end if;
{besides}""")

    def _catch_errors(self, statements: str) -> str:
        """Reset everything if an expression fails, instead of failing the app's write.

        The id of the logged row says which table and which error.
        """
        if not self.row.is_loose:
            return statements
        return f"""\
  begin
{statements}{_ON_ANY_ERROR}
    neverstale_rows :=
      array[array[null, null, 'bulk_change', {self._failure} || sqlstate, '{RECONNECT}']];
{self._resets.everything_below}  end;
{INSERT_ROWS}  select neverstale_rows[n][1], neverstale_rows[n][2], neverstale_rows[n][3],
         neverstale_rows[n][4], neverstale_rows[n][5]
    from generate_subscripts(neverstale_rows, 1) as n;
"""

    def _select_old(self, *conditions: str) -> str:
        """Return a query of the row as it was; LOST if a project changed its owner."""
        old = "(select old.*) as changed"
        if not (self._watch.is_project and self._watch.user):
            return self.row.select("'UPDATE'", old, *conditions)
        user = self.row.user
        now = f"(select {user} from (select new.*) as changed)"
        action = f"case when {user} is distinct from {now} then '{LOST}' else 'UPDATE' end"
        return self.row.select(action, old, *conditions)

    def _log_lost(self) -> str:
        """Log LOST for the old owners of the statement's projects."""
        if not (self._watch.is_project and self._watch.user):
            return ""
        pair = f"{self.row.project}, {self.row.user}"
        is_lost = (
            f"({pair}) in (select {pair} from before as changed"
            f" except select {pair} from changed)"
        )
        query = self.row.select(quote_literal(LOST), "before as changed", is_lost)
        return f"{INSERT_ROWS}{query};\n"

    def _select_images(self, source: str) -> str:
        return self.row.select("'UPDATE'", source, is_distinct=True)

    def _insert_images(self, source: str) -> str:
        """Log the source's rows, each once; beyond the threshold, reset their projects."""
        query = self._select_images(source)
        if self._watch.logs_every_row:
            return f"{INSERT_ROWS}{query};\n"
        max_rows = 2 * self._threshold  # a row may be logged as it was and as it is
        return (
            f"{INSERT_ROWS}{query}\n   limit {max_rows + 1};\n"
            "  get diagnostics neverstale_logged = row_count;\n"
            f"  if neverstale_logged > {max_rows} then\n"
            f"{reset_projects(self.row.select_projects(source))}  end if;\n"
        )
