"""Types of the demo's database, and its longer statements."""

from pathlib import Path
from typing import TypeAlias

import asyncpg

Row: TypeAlias = asyncpg.Record
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
_FOLDER = Path(__file__).parent / "sql"


def statement(name: str) -> str:
    """Return the statement in a file of ``demo/sql``."""
    return (_FOLDER / f"{name}.sql").read_text()
