"""Where names in SQL are looked up: in our own statements, and in the access queries."""

from collections.abc import Iterable
from typing import Final

# Where pg_temp is not named, a session's own types are found first, and run what they like as
# the functions' owner (CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely").
SEARCH_PATH: Final = "pg_catalog, pg_temp"

# What names mean to a session; a temporary schema is not among them.
OWN_SCHEMAS_SQL = "select pg_catalog.current_schemas(false)"


def safe_search_path(schemas: Iterable[str]) -> str:
    """The schemas in their order as a ``search_path``, in SQL.

    PostgreSQL's own comes first and the session's temporary one last, so that no function or
    operator of the same signature is found before PostgreSQL's. (One that fits better is: a
    query has to name the schema where that matters.)
    """
    own = [
        '"' + schema.replace('"', '""') + '"'
        for schema in schemas
        if schema != "pg_catalog" and not schema.startswith("pg_temp")
    ]
    return ", ".join(("pg_catalog", *own, "pg_temp"))
