"""The demo's database, and the statements too long for a line."""

from pathlib import Path
from typing import TypeAlias

import asyncpg

Row: TypeAlias = asyncpg.Record
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
_FOLDER = Path(__file__).parent / "sql"


def statement(name: str) -> str:
    """A statement of ``demo/sql``."""
    return (_FOLDER / f"{name}.sql").read_text()
