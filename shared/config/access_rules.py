"""The ``[access]`` section of ``invalidation.toml``: id types, and who may see a project."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from shared.protocol.channels import MAX_ID_BYTES, IdType, canonical_id

# Owner or member, for tables named as in the shipped invalidation.toml. PostgreSQL's functions,
# types and operators are qualified: any schema of the search path may have one that fits the
# types better. The pairs are spelled as in the tables, not as in the arguments.
DEFAULT_QUERY: Final = """\
select p.id, allowed.user_id
  from rows from (
         pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])
       ) as asked (project_id, user_id)
  join projects p on p.id operator(pg_catalog.=) asked.project_id::{project_type}
 cross join lateral (
         select p.owner_id::pg_catalog.text collate pg_catalog."C"
          where p.owner_id operator(pg_catalog.=) asked.user_id::{user_type}
         union
         select m.user_id::pg_catalog.text collate pg_catalog."C"
           from project_members m
          where m.project_id operator(pg_catalog.=) p.id
            and m.user_id operator(pg_catalog.=) asked.user_id::{user_type}
       ) as allowed (user_id)
"""
DEFAULT_MEMBERS: Final = """\
select p.id, p.owner_id
  from projects p
 where p.id operator(pg_catalog.=) any ($1::pg_catalog.text[]::{project_type}[])
union all
select m.project_id, m.user_id
  from project_members m
 where m.project_id operator(pg_catalog.=) any ($1::pg_catalog.text[]::{project_type}[])
"""
_SQL_TYPES: Final[Mapping[IdType, str]] = {
    "uuid": "pg_catalog.uuid",
    "bigint": "pg_catalog.int8",
    "text": "pg_catalog.text",
}
_END: Final = re.compile(r";(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*\Z", re.DOTALL)
_KEYS: Final = ("project_type", "user_type", "query", "members")


class ConfigError(ValueError):
    """``invalidation.toml`` is invalid. Each problem is a line that says what to write."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The types of ids, and the queries for (project, user) pairs with access.

    ``query`` takes two text arrays, pairs of project and user, and returns the pairs that have
    access, spelled as in the tables. ``members`` takes a text array of projects and returns
    the pairs of these projects and all their users, whose lists of projects a change of the
    project concerns. It may be empty, as it has no default beside a custom ``query``: then a
    change of a project concerns nobody's list.
    """

    project_type: IdType
    user_type: IdType
    query: str
    members: str


def parse_access(document: Mapping[str, Any]) -> AccessRules:
    """Return the access rules of a parsed ``invalidation.toml``.

    Raises:
        ConfigError: a key is unknown or has an invalid value.
    """
    section = document.get("access", {})
    if not isinstance(section, Mapping):
        raise ConfigError(["access: must be a section: write [access] on a line of its own"])
    problems = [
        f"[access] {key}: unknown key: known are {', '.join(_KEYS)}"
        for key in section
        if key not in _KEYS
    ]
    types: dict[str, IdType] = {}
    for key in ("project_type", "user_type"):
        value = section.get(key, "uuid")
        for id_type in get_args(IdType):
            if value == id_type:
                types[key] = id_type
        if key not in types:
            problems.append(
                f'[access] {key}: must be "uuid", "bigint" or "text", not {value!r}'
            )
    queries = {"query": section.get("query", ""), "members": section.get("members", "")}
    problems += [
        f"[access] {key}: must be a string with an SQL query"
        for key, text in queries.items()
        if not isinstance(text, str)
    ]
    if problems:
        raise ConfigError(problems)
    query, members = queries["query"].strip(), queries["members"].strip()
    sql_types = {key: _SQL_TYPES[id_type] for key, id_type in types.items()}
    if not query and not members:
        members = DEFAULT_MEMBERS.format(**sql_types)
    return AccessRules(
        project_type=types["project_type"],
        user_type=types["user_type"],
        query=query or DEFAULT_QUERY.format(**sql_types),
        members=members,
    )


def name_pairs(
    pairs: Iterable[tuple[str, str]], rules: AccessRules
) -> Iterator[tuple[str, str]]:
    """Yield the (project, user) pairs that a query returned, with ids in canonical spelling.

    Pairs with an id that is invalid for its type are left out.
    """
    for project, user in pairs:
        project_id = canonical_id(project, rules.project_type)
        user_id = canonical_id(user, rules.user_type)
        if project_id is not None and user_id is not None:
            yield project_id, user_id


def bounded_sql(query: str, max_rows: int) -> str:
    """Wrap a query of pairs: at most *max_rows* rows, texts cut behind the length of an id.

    Pairs with a NULL are left out.
    """
    return f"""\
select pg_catalog.left(found.project_id::pg_catalog.text, {MAX_ID_BYTES + 1}),
       pg_catalog.left(found.user_id::pg_catalog.text, {MAX_ID_BYTES + 1})
  from (
{_END.sub("", query)}
) as found (project_id, user_id)
 where found.project_id is not null and found.user_id is not null
 limit {max_rows}"""  # noqa: S608 of the operator's own file
