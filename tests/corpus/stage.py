"""A database with a schema of the corpus, our parts on it, and its clients."""

import asyncio
import secrets
import tempfile
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from listener.capture.expressions import quote_literal
from listener.capture.watches import Watch, parse_watches, project_resources
from listener.leader.change_log import read_capture
from listener.links.pg_link import rolled_back_transaction
from listener.setup.check import check
from listener.setup.install import Config, disable, install
from shared.config.access_rules import parse_access
from shared.protocol.channels import RedisNames
from shared.runtime.findings import problems_of
from tests.corpus.page import MARK, Page, Row, Rows
from tests.corpus.schemas import Schema
from tests.support.database import Database
from tests.support.processes import HANG_SECONDS
from tests.support.servers import Servers
from tests.support.world import World

# Within this time a client must be told that it may be stale.
NOTICE_SECONDS: Final = 8.0
MARK_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.01
# A row's version: the token that its last writer put into it. Migrations that rename, retype or
# add columns do not change it.
_VERSION: Final = "coalesce(substring(changed::text from 'rev[0-9]+'), '')"
_SHOWN: Final = 3


@dataclass
class Stage:
    """A schema's database with parts and clients. ``text`` is the current config file."""

    schema: Schema
    world: World
    pool: "asyncpg.Pool[asyncpg.Record]"
    file: Path
    text: str
    pages: list[Page] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        return tomllib.loads(self.text)

    @property
    def config(self) -> Config:
        return Config.parse(self.document, log_max_bytes=2**30)

    @property
    def fixed(self) -> object:
        """The part of the configuration that running parts read only at their start."""
        return self.document.get("access"), project_resources(parse_watches(self.document))

    def write(self, text: str) -> None:
        self.text = text
        self.file.write_text(text)

    @asynccontextmanager
    async def commanding(self) -> AsyncIterator[Database]:
        """Yield a session like that of one of our commands."""
        connection = await asyncpg.connect(self.world.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def install(self) -> None:
        async with self.commanding() as connection:
            await install(connection, self.config)

    async def disable(self) -> None:
        async with self.commanding() as connection:
            await disable(connection)

    async def check(self) -> list[str]:
        """Return the problems that ``neverstale check`` finds in the database."""
        async with self.commanding() as connection, rolled_back_transaction(connection):
            found = await check(connection, self.config, parse_access(self.document))
        return [one.text for one in problems_of(found)]

    async def start_parts(self) -> None:
        """Start a listener and a gateway, or restart those that run."""
        for part in self.world.parts:
            await part.end()
            await part.start()
            await part.ready(self.world.http)
        if not self.world.parts:
            await asyncio.gather(self.world.listener(), self.world.gateway())

    def ended_parts(self) -> list[str]:
        """Return the parts that exited by themselves, with their last log line."""
        return [
            f"the {part.module} ended: {part.raw_lines[-1:]}"
            for part in self.world.parts
            if part.process is None or part.process.returncode is not None
        ]

    async def load(self, project: str, row: Row | None) -> Rows:
        """Return the response of the app's API: all rows of a project, or one of them."""
        sql = _page_sql(parse_watches(self.document))
        resource, id_ = row or (None, None)
        rows = await self.pool.fetch(sql, project, resource, id_)
        return {(row["resource"], row["id"]): row["version"] for row in rows}

    async def pass_mark(self, page: Page) -> None:
        """Return when the page has received all earlier commits, or knows that it is not live.

        A reset replaces other events of its batch, so the mark is sent again.
        """
        sent = set[str]()
        async with asyncio.timeout(HANG_SECONDS):
            while page.is_live:
                sent.add(mark := secrets.token_hex(4))
                await self.pool.execute(
                    "select neverstale.notify($1, 'UPDATE', $2, $3)", MARK, page.project, mark
                )
                deadline = asyncio.get_running_loop().time() + MARK_SECONDS
                while asyncio.get_running_loop().time() < deadline and page.is_live:
                    if sent & page.marks and page.is_fresh:
                        return
                    await asyncio.sleep(POLL_SECONDS)

    async def become_live(self) -> list[str]:
        """Wait until all clients are live. Return those that are not."""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                while not all(page.is_live and page.is_greeted for page in self.pages):
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            return [f"{page.name} is not live" for page in self.pages if not page.is_live]
        return []

    async def leader_knows_triggers(self) -> None:
        """Return when the leader has handled all changes of the triggers."""
        state = RedisNames(self.world.prefix).state
        connection = await asyncpg.connect(self.world.database_url)
        try:
            async with asyncio.timeout(HANG_SECONDS), self.world.redis() as redis:
                while True:
                    async with rolled_back_transaction(connection):
                        capture = await read_capture(connection)
                    known = await redis.hmget(state, "capture", "live")
                    if capture.differences or known == [capture.fingerprint.encode(), b"1"]:
                        return
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            await connection.close()

    async def settle(self) -> list[str]:
        """Return what is stale once all events were delivered. Nothing may write meanwhile.

        A client that receives ``live:false`` in time knows that it may be stale.
        """
        problems: list[str] = []
        for page in self.pages:
            try:
                await self.pass_mark(page)
            except TimeoutError:
                problems.append(f"{page.name} receives nothing any more")
                continue
            truth = await self.load(page.project, None)
            with suppress(TimeoutError):
                async with asyncio.timeout(NOTICE_SECONDS):
                    while page.is_live and page.rows != truth:
                        await asyncio.sleep(POLL_SECONDS)
            stale = [
                row for row in {*truth, *page.rows} if truth.get(row) != page.rows.get(row)
            ]
            if page.is_live and stale:
                rows = ", ".join(" ".join(row) for row in sorted(stale)[:_SHOWN])
                problems.append(f"{page.name} is stale in {len(stale)} rows: {rows}")
        return problems

    def tracebacks(self) -> list[str]:
        return [
            f"the {part.module} logged a traceback"
            for part in self.world.parts
            if "Traceback" in "".join(part.raw_lines)
        ]


def _page_sql(watches: Sequence[Watch]) -> str:
    parts = (
        f"select {quote_literal(watch.resource)} as resource, ({watch.id})::text as id,"
        f" {_VERSION} as version"
        f" from {watch.table} as changed where ({watch.project})::text = $1"
        for watch in watches
        if watch.id and watch.project
    )
    return (
        f"select * from ({' union all '.join(parts)}) as page"
        " where $2::text is null or (resource, id) = ($2, $3)"
    )


async def missing_extensions(servers: Servers, schema: Schema) -> list[str]:
    """Return the extensions that the schema needs and the server lacks."""
    admin = await asyncpg.connect(servers.postgres.url)
    try:
        rows = await admin.fetch("select name from pg_available_extensions")
    finally:
        await admin.close()
    return sorted({*schema.extensions} - {row["name"] for row in rows})


@asynccontextmanager
async def staged(servers: Servers, schema: Schema, *, all_v1: bool) -> AsyncIterator[Stage]:
    """Yield a stage whose clients have loaded all rows."""
    name = f"corpus_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    url = servers.postgres.database_url(name)
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=4, statement_cache_size=0) as pool,
        aiohttp.ClientSession() as http,
    ):
        extensions = (f"create extension {one};\n" for one in schema.extensions)
        await pool.execute("".join(extensions) + schema.ddl)
        with tempfile.TemporaryDirectory(prefix="neverstale-corpus-") as folder:
            file = Path(folder) / "invalidation.toml"
            more = {"NEVERSTALE_CONFIG": str(file)}
            database = await asyncpg.connect(url, statement_cache_size=0)
            world = World(servers, url, f"{name}:", http, database, [], more, "", "", "", "")
            stage = Stage(schema, world, pool, file, schema.config)
            stage.write(schema.config)
            try:
                await stage.install()
                await stage.start_parts()
                async with _following(stage, all_v1=all_v1):
                    yield stage
            finally:
                for part in world.parts:
                    await part.end()
                await database.close()
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@asynccontextmanager
async def _following(stage: Stage, *, all_v1: bool) -> AsyncIterator[None]:
    gateway = stage.world.parts[1]
    async with asyncio.TaskGroup() as tasks:
        running = []
        for plan in stage.schema.clients:
            is_v1 = all_v1 or plan.is_v1
            page = Page(stage.schema, replace(plan, is_v1=is_v1), stage.world.http, stage.load)
            stage.pages.append(page)
            running += [
                tasks.create_task(page.follow(gateway)),
                tasks.create_task(page.reload()),
            ]
        try:
            for page in stage.pages:
                await stage.pass_mark(page)
            yield
        finally:
            for task in running:
                task.cancel()
