"""Where the names in an access query are looked up."""

from collections.abc import Iterable

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
