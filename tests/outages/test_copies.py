"""A database restored from a copy causes one reset and publishes nothing of the copied log."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from deploy.dev.servers import PostgresServer, free_port
from tests.outages.programs import run
from tests.support.changes import assert_flows, change
from tests.support.demo_data import TASK
from tests.support.inspection import until_state
from tests.support.processes import HANG_SECONDS, Part
from tests.support.servers import Servers
from tests.support.world import World

_USE_XIDS: Final = """
do $$begin
  for n in 1..20000 loop
    perform pg_current_xact_id();
    commit;
  end loop;
end$$"""
_OLDEST: Final = "select min(at) from neverstale.change_log"


async def log_what_nobody_reads(world: World) -> None:
    """Log a change, a reset of everything and a moved parent, with xids of a busy cluster."""
    await world.database.execute("set synchronous_commit = off")
    await world.database.execute(_USE_XIDS)
    await change(world)
    await world.database.execute("truncate messages")
    await world.database.execute(
        "insert into neverstale.moved values ($1, pg_current_xact_id())", world.gemini
    )


async def use_database(world: World, url: str) -> None:
    world.more["DATABASE_URL"] = world.database_url = url
    await world.reconnect_database()


async def assert_one_reset(world: World, reason: str) -> Part:
    """Check that a listener resets once for this reason, empties the log, and events flow."""
    copied_at = await world.database.fetchval("select clock_timestamp()")
    listener = await world.listener()
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        async with asyncio.timeout(HANG_SECONDS):
            while (oldest := await world.database.fetchval(_OLDEST)) and oldest < copied_at:
                await asyncio.sleep(0.1)
            while await world.database.fetchval("select count(*) from neverstale.moved"):
                await asyncio.sleep(0.1)
        await assert_flows(world, client)
    resets = [line["reason"] for line in listener.lines if line["message"] == "reset"]
    assert resets == [reason]
    return listener


async def dump(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "dump"
    assert await run("pg_dump", "-Fc", "-d", world.database_url, "-f", path) == (0, "")
    return path


async def make_database(servers: Servers, name: str) -> str:
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    return servers.postgres.database_url(name)


async def test_a_dump_restored_in_another_cluster(
    world: World, own_servers: Servers, tmp_path: Path
) -> None:
    await log_what_nobody_reads(world)
    path = await dump(world, tmp_path)
    url = await make_database(own_servers, "restored")
    assert await run("pg_restore", "-d", url, path) == (0, "")
    await use_database(world, url)
    code, output, errors = await world.command("neverstale", "check")
    assert (code, errors) == (0, "")
    assert "rows of the change log were restored from a dump of another cluster" in output
    listener = await assert_one_reset(world, "gap")
    code, output, errors = await world.command("listener", "install")
    assert (code, errors, "created" in output) == (0, "", False)
    await listener.end()


_CASES: Final = {
    # pg_restore's options for each run, its exit code, and check's output
    "without owners and privileges": (
        ("--no-owner", "--no-privileges"),
        1,
        0,
        "revoke EXECUTE on function neverstale.settings() from public",
    ),
    "without our schema": (("--schema", "public"), 1, 1, "Neverstale is not installed here"),
    "without triggers": (
        ("--section", "pre-data", "--section", "data"),
        1,
        0,
        "run neverstale install",
    ),
    "twice": ((), 2, 1, ""),
}


@pytest.mark.parametrize(("options", "times", "exit_code", "said"), _CASES.values(), ids=_CASES)
async def test_a_dump_restored_in_part(
    world: World,
    tmp_path: Path,
    options: tuple[str, ...],
    times: int,
    exit_code: int,
    said: str,
) -> None:
    """``check`` names what is missing, and ``install`` repairs it."""
    await log_what_nobody_reads(world)
    path = await dump(world, tmp_path)
    url = await make_database(world.servers, f"{world.prefix[:-1]}_restored")
    codes = [(await run("pg_restore", *options, "-d", url, path))[0] for _ in range(times)]
    assert codes[-1] == exit_code
    await use_database(world, url)
    code, _, errors = await world.command("neverstale", "check")
    assert (code, said in errors) == (1 if said else 0, True), errors
    assert (await world.command("listener", "install"))[::2] == (0, "")
    assert (await world.command("neverstale", "check"))[::2] == (0, "")
    await assert_one_reset(world, "gap")


async def test_data_alone_restored_over_an_installation(world: World, tmp_path: Path) -> None:
    """pg_restore disables all triggers for it, and enables them again in the wrong mode."""
    path = await dump(world, tmp_path)
    tables = "users, projects, project_members, sprints, tasks, messages"
    await world.database.execute(f"truncate {tables} cascade")
    code, _ = await run(
        "pg_restore", "--data-only", "--disable-triggers", "-d", world.database_url, path
    )
    assert code == 1, "the log's incarnation is there already"
    code, _, errors = await world.command("neverstale", "check")
    assert (code, "missing or differs: run neverstale install" in errors) == (1, True)
    first = await world.listener()
    await until_state(world, "live", "0")  # triggers are not as install made them
    assert (await world.command("listener", "install"))[::2] == (0, "")
    await until_state(world, "live", "1")
    gateway = await world.gateway()
    async with world.client(gateway, world.apollo, world.ada) as client:
        await assert_flows(world, client)
    assert first.logged("reset", reason="log_lost"), "what nobody captured is told so"


async def test_a_copy_made_from_a_template(world: World) -> None:
    leader = await world.listener()
    await until_state(world, "live", "1")
    await leader.end()
    await log_what_nobody_reads(world)
    await world.database.close()
    name = world.database_url.rpartition("/")[2]
    admin = await asyncpg.connect(world.servers.postgres.url)
    await admin.execute(f"create database {name}_copy template {name}")
    await admin.close()
    await use_database(world, world.servers.postgres.database_url(f"{name}_copy"))
    await assert_one_reset(world, "log_lost")


@asynccontextmanager
async def restored_backup(world: World) -> AsyncIterator[PostgresServer]:
    """Replace the world's server by one restored from a base backup."""
    old = world.servers.postgres
    folder = old.folder.with_name("backup")
    url = f"postgresql://postgres@127.0.0.1:{old.port}/"
    assert (await run("pg_basebackup", "-D", folder, "-d", url, "-c", "fast"))[0] == 0
    if os.geteuid() == 0:
        owner = old.folder.stat()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    await change(world, "after the backup")
    old.stop()
    new = PostgresServer(folder, free_port(), programs=old._programs)
    new.start()
    try:
        yield new
    finally:
        new.stop()
        shutil.rmtree(folder)


async def test_a_base_backup_in_place_of_the_server(own_world: World) -> None:
    """Its log is empty, and its data is older than what clients hold."""
    world = own_world
    leader = await world.listener()
    await until_state(world, "live", "1")
    await leader.end()
    async with restored_backup(world) as backup:
        await use_database(world, backup.database_url(world.database_url.rpartition("/")[2]))
        title = await world.database.fetchval("select title from tasks where id = $1", TASK)
        assert title != "after the backup"
        await assert_one_reset(world, "log_lost")
        for part in world.parts:
            await part.end()
        await world.database.close()
