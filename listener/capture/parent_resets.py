"""What else a trigger function does on a table whose rows others look up, as SQL."""

import hashlib
from typing import Final

from listener.capture.expressions import Table, differ, quote_identifier, quote_literal, unlike
from listener.capture.logged_rows import LoggedRow, Parent, reset_projects
from listener.capture.watches import Watch

# A transaction that deletes parents of more projects resets everything when it inserts others.
_MAX_REMEMBERED_PROJECTS: Final = 100


class ParentResets:
    """Resets of the projects below rows of a parent table, as PL/pgSQL.

    A row that moves to another project takes all rows along that look it up, and their triggers
    do not fire. All methods return an empty text if no watched table looks this one up.
    """

    def __init__(
        self, watch: Watch, table: Table, row: LoggedRow, parent: Parent | None
    ) -> None:
        self._table = table
        self._row = row
        self._parent = parent
        # the setting that holds, for a transaction, the projects of the rows it deleted
        digest = hashlib.sha256(watch.table.encode()).hexdigest()[:8]
        self._memory = quote_literal(f"neverstale.deleted_{digest}")
        self._remembered = (
            f"select unnest(nullif(current_setting({self._memory}, true), '')::text[])"
        )

    @property
    def everything_below(self) -> str:
        """Have the leader reset everything once more when all open transactions have ended."""
        return "    insert into neverstale.moved values (null);\n" if self._parent else ""

    def inserted(self) -> str:
        """Of a row that replaces a deleted one, reset the projects of both.

        Where foreign keys do not prevent rows without a parent, every row may replace one.
        """
        if self._parent is None:
            return ""
        projects = self._row.select_projects("changed")
        if not self._parent.is_bound:
            return _reset_below(projects)
        reset = _reset_below(f"{self._remembered} union all {projects}")
        return f"  if current_setting({self._memory}, true) <> '' then\n{reset}  end if;\n"

    def deleted(self) -> str:
        """Remember the projects of deleted rows, in case the transaction replaces one.

        Where foreign keys do not prevent rows without a parent, reset them.
        """
        if self._parent is None:
            return ""
        projects = self._row.select_projects("changed")
        if not self._parent.is_bound:
            return reset_projects(projects)
        return f"""\
  perform set_config({self._memory}, coalesce((
    select case when count(distinct p) > {_MAX_REMEMBERED_PROJECTS} then '{{NULL}}'
           else array_agg(distinct p)::text end
      from ({self._remembered} union all {projects}) as deleted (p)), ''), true);
"""

    def moved_row(self) -> str:
        """Of a row-level trigger's row, reset both projects if it moved."""
        columns = self._row.looked_up_columns
        if not columns:
            return ""
        both = "(select old.* union all select new.*) as changed"
        reset = _reset_below(self._row.select_projects(both))
        return f"  if {differ(columns, self._table)} then\n{reset}  end if;\n"

    def moved_rows(self) -> str:
        """Of a statement's rows, reset both projects of those that moved."""
        names = [quote_identifier(column) for column in self._row.looked_up_columns]
        if not names:
            return ""
        moved = unlike(
            lambda row: f"jsonb_build_array({', '.join(f'{row}.{n}' for n in names)})::text"
        )
        return _reset_below(self._row.select_projects(moved))


def _reset_below(projects: str) -> str:
    """Reset the projects of a parent that moved or was replaced, now and once more later.

    Later is when all transactions have ended that may have looked up the old parent: the leader
    waits for them (``neverstale.moved``).
    """
    return (
        f"{reset_projects(projects)}"
        "  insert into neverstale.moved (project_id)\n"
        f"  select distinct project_id from ({projects}) as widened (project_id);\n"
    )
