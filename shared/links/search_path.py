"""The ``search_path`` of our own statements, and of the access queries."""

from collections.abc import Iterable
from typing import Final

# Without pg_temp in the path, a session's temporary types are found first, and can run code as
# the functions' owner (CREATE FUNCTION, "Writing SECURITY DEFINER Functions Safely").
SEARCH_PATH: Final = "pg_catalog, pg_temp"

# The schemas of a session's search_path, without its temporary schema.
OWN_SCHEMAS_SQL = "select pg_catalog.current_schemas(false)"


def safe_search_path(schemas: Iterable[str]) -> str:
    """Return the schemas, in their order, as the SQL of a ``search_path``.

    pg_catalog comes first and pg_temp last, so that no function or operator of the same
    signature is found before PostgreSQL's own. One whose types fit better still is: where that
    matters, a query must qualify the name.
    """
    own = [
        '"' + schema.replace('"', '""') + '"'
        for schema in schemas
        if schema != "pg_catalog" and not schema.startswith("pg_temp")
    ]
    return ", ".join(("pg_catalog", *own, "pg_temp"))
