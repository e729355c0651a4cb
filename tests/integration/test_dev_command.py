"""``neverstale dev`` on a database of the user's own, with a schema that is not the demo's."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from deploy.dev.servers import free_port
from tests.support.commands import run, running
from tests.support.servers import Servers

ROOT: Final = Path(__file__).parents[2]
SCHEMA: Final = """
create table members (id bigint primary key);
create table team_members (
    team_id bigint not null, user_id bigint not null references members,
    primary key (team_id, user_id));
create table teams (id bigint primary key, name text);
alter table team_members add foreign key (team_id) references teams;
create table decisions (
    id bigint primary key, team_id bigint not null references teams, title text);
insert into members values (1), (2);
insert into teams values (7, 'Flight');
insert into team_members values (7, 1);
"""
NEVERSTALE: Final = (sys.executable, "-P", "-m", "neverstale")


@dataclass
class Project:
    """A folder and a database of a user, and how to run ``neverstale`` there."""

    folder: Path
    database_url: str
    database: "asyncpg.Connection[asyncpg.Record]"
    ports: dict[str, int]
    env: dict[str, str]

    @property
    def options(self) -> list[str]:
        return [
            "--database-url",
            self.database_url,
            *(word for name, port in self.ports.items() for word in (f"--{name}", str(port))),
        ]

    async def neverstale(self, *words: str, **more: str) -> tuple[int, str]:
        env = {**self.env, **more}
        return await run([*NEVERSTALE, *words], cwd=self.folder, env=env)

    async def init(self) -> None:
        code, output = await self.neverstale("init", DATABASE_URL=self.database_url)
        assert code == 0, output


@pytest.fixture
async def project(servers: Servers, tmp_path: Path) -> AsyncIterator[Project]:
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    await database.execute(SCHEMA)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JWT_")}
    for setting in ("DATABASE_URL", "REDIS_URL", "NEVERSTALE_CONFIG"):
        kept.pop(setting, None)
    ports = {f"{part}-port": free_port() for part in ("gateway", "listener", "redis")}
    yield Project(tmp_path, url, database, ports, {**kept, "PYTHONPATH": str(ROOT)})
    await database.close()


async def test_it_starts_all_that_a_first_event_needs(project: Project) -> None:
    await project.init()
    words = [*NEVERSTALE, "dev", *project.options, "--user", "1"]
    async with running(words, cwd=project.folder, env=project.env) as stack:
        assert "invalidation.toml" in await stack.line_with("installing the change log")
        await stack.line_with("the socket prints its event")
        assert "A token for user 1" in stack.output
        assert "neverstale uninstall" in stack.output
        assert await project.database.fetchval("select to_regnamespace('neverstale')")

        code, output = await project.neverstale("dev", *project.options)
        assert (code, "another `neverstale dev`" in output) == (1, True), output
        code, output = await project.neverstale(
            "dev", "socket", "--project", "7", "--user", "2"
        )
        assert (code, "this user may not see this project" in output) == (1, True), output
        code, token = await project.neverstale("dev", "token", "1")
        assert code == 0, token

        open_socket = [*NEVERSTALE, "dev", "socket", "--project", "7"]
        by_token = [*open_socket, "--v1", "--token", token.strip()]
        async with (
            running(open_socket, cwd=project.folder, env=project.env) as plain,
            running(by_token, cwd=project.folder, env=project.env) as v1,
        ):
            await asyncio.gather(plain.line_with("reconnect"), v1.line_with("connected"))
            await project.database.execute("insert into decisions values (3, 7, 'Go')")
            for socket in (plain, v1):
                event = await socket.line_with("INSERT")
                assert '"decision"' in event
                assert '"3"' in event
            assert await stack.end(signal.SIGINT) == 0, stack.output
            await asyncio.gather(plain.line_with("closed with"), v1.line_with("closed with"))
    code, output = await project.neverstale("dev", "token", "1")
    assert (code, "no stack is running" in output) == (1, True), output
    assert (project.folder / ".neverstale" / ".gitignore").read_text() == "*\n"


async def test_it_uses_the_app_s_redis_and_key(project: Project, servers: Servers) -> None:
    await project.init()
    project.env |= {
        "REDIS_URL": servers.valkey.url,
        "REDIS_PREFIX": f"{project.folder.name}:",
        "JWT_SECRET": "the secret of an app that exists already",
        "JWT_ISSUER": "the app",
        "JWT_AUDIENCE": "live",
        "JWT_USER_CLAIM": "uid",
        "JWT_ALGORITHMS": "HS512",
    }
    words = [*NEVERSTALE, "dev", *project.options]
    async with running(words, cwd=project.folder, env=project.env) as stack:
        await stack.line_with("the socket prints its event")
        assert "starting valkey" not in stack.output
        code, output = await project.neverstale("dev", "socket", "--project", "7")
        assert (code, "--user" in output) == (1, True), output
        open_socket = [*NEVERSTALE, "dev", "socket", "--project", "7", "--user", "1"]
        async with running(open_socket, cwd=project.folder, env=project.env) as socket:
            await socket.line_with("reconnect")


async def test_it_says_why_it_does_not_start(project: Project) -> None:
    code, output = await project.neverstale("dev")
    assert (code, "--database-url or DATABASE_URL" in output) == (2, True), output
    code, output = await project.neverstale("dev", *project.options)
    assert (code, "write it with `neverstale init`" in output) == (1, True), output
    await project.init()
    code, output = await project.neverstale("dev", *project.options, JWT_SECRET="short")
    assert (code, "gateway cannot run with these settings" in output) == (1, True), output
    assert "at least 32 bytes" in output
    code, output = await project.neverstale(
        "dev", *project.options, "--gateway-port", str(project.ports["listener-port"])
    )
    assert (code, "given 2 times" in output) == (1, True), output
