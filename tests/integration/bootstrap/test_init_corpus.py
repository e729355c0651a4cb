"""What `init` proposes for schemas like those of real applications is what a reviewer wants.

Each folder of tests/schemas has a schema and its review.toml. Where it has invalidation.toml,
`init` writes just that; where it has ordinary.sql, no transaction in it resets everybody.
"""

import os
import re
import secrets
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from listener.bootstrap.discovery import discover
from listener.bootstrap.first_config import render_config
from listener.bootstrap.init import describe_tables
from listener.links.pg_link import rolled_back_transaction
from listener.setup.install import Config, install
from shared.config.access_rules import bounded_sql, parse_access
from tests.support.database import Database
from tests.support.processes import ROOT
from tests.support.servers import Servers

# `make corpus` judges all of them
_SHORT: Final = ("catalog", "erp", "helpdesk", "rails_tracker", "rls_saas")
SCHEMAS: Final = sorted(
    path.parent
    for path in ROOT.glob("tests/schemas/*/review.toml")
    if "INIT_CORPUS" in os.environ or path.parent.name in _SHORT
)
_NO_EVERYBODY: Final = """
select count(*) from neverstale.change_log
 where action = 'RECONNECT' and project_id is null and user_id is null
"""


@asynccontextmanager
async def database_of(servers: Servers, folder: Path) -> AsyncIterator[Database]:
    """A database with that schema, if the server has the extensions that it needs."""
    name = f"schema_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    wanted = folder / "extensions.txt"
    extensions = wanted.read_text().split() if wanted.exists() else []
    available = {
        name for (name,) in await admin.fetch("select name from pg_available_extensions")
    }
    if not available.issuperset(extensions):
        await admin.close()
        pytest.skip(f"this server lacks one of {', '.join(extensions)}")
    await admin.execute(f"create database {name}")
    await admin.close()
    database = await asyncpg.connect(servers.postgres.database_url(name))
    try:
        for extension in extensions:
            await database.execute(f"create extension {extension}")
        await database.execute((folder / "schema.sql").read_text())
        yield database
    finally:
        await database.close()


async def first_config(database: Database, arguments: list[str]) -> str:
    """What `init` writes, with these arguments of its."""
    async with rolled_back_transaction(database):
        tables = await describe_tables(database)
    projects = arguments[arguments.index("--projects") + 1] if arguments else None
    return render_config(discover(tables, projects=projects))


def config_of(text: str) -> Config:
    return Config.parse(tomllib.loads(text), log_max_bytes=2**30)


def uncommented(text: str) -> str:
    """With all that is suggested: each watch, and the queries in place of those above them."""
    text, _, access = text.partition("\n[access]\n")
    watches = re.sub(
        r"^# (\[\[watch\]\]|(table|resource|id|project|user) = )", r"\1", text, flags=re.M
    )
    settings, _, proposed = access.partition("\n\n# Most likely")
    if proposed:
        settings = re.sub(r'^(query|members) = """.*?"""$', "", settings, flags=re.M | re.S)
        lines = proposed[proposed.index("\n# # $1, $2") :]
        settings += re.sub(r"^# ?", "", lines, flags=re.M)
    return f"{watches}\n[access]\n{settings}"


async def prepare_access(database: Database, text: str) -> None:
    rules = parse_access(tomllib.loads(text))
    for query in filter(None, (rules.query, rules.members)):
        await database.prepare(bounded_sql(query, 100))


@pytest.mark.parametrize("folder", SCHEMAS, ids=lambda folder: folder.name)
async def test_init_proposes_what_a_reviewer_wants(servers: Servers, folder: Path) -> None:
    review: dict[str, Any] = tomllib.loads((folder / "review.toml").read_text())
    async with database_of(servers, folder) as database:
        text = await first_config(database, review.get("arguments", []))
        config = config_of(text)
        watched = {watch.table for watch in config.watches}
        wrong = sorted(watched - set(review["watch"]) | watched & set(review["unwatched"]))
        missing = sorted(set(review["watch"]) - watched)
        print(f"{folder.name}: {len(watched)} watched, wrong: {wrong}, missing: {missing}")
        assert wrong == []
        assert missing == review.get("missing", [])
        comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
        for table in review.get("hint", []):
            assert re.search(rf"(?<![\w.]){re.escape(table)}(?![\w.])", comments), table
        assert next(w.table for w in config.watches if w.is_project) == review["projects"]
        owners = [watch.user for watch in config.watches if watch.table == review["projects"]]
        assert owners == [review.get("owner")]
        assert ("is a guess" in comments) is review.get("guess", False)
        proposed = comments.partition("# Most likely")[2].replace("\n#", "")
        assert bool(proposed) is ("proposed" in review)
        for table in review.get("proposed", []):
            assert table in proposed
        members = [w.table for w in config.watches if w.resource == "project_members"]
        assert members == ([review["members"]] if "members" in review else [])
        expected = folder / "invalidation.toml"
        if expected.exists():
            assert text == expected.read_text()

        await install(database, config)
        await prepare_access(database, text)
        ordinary = folder / "ordinary.sql"
        for statement in ordinary.read_text().splitlines() if ordinary.exists() else []:
            await database.execute(statement)
            assert await database.fetchval(_NO_EVERYBODY) == 0, statement
        everything = uncommented(text)
        await install(database, config_of(everything))
        await prepare_access(database, everything)
