"""PostgreSQL's disk is full: writes fail, commits are published, and everything recovers."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from deploy.dev.servers import PostgresServer, ValkeyServer
from tests.support.changes import assert_consistent_after, assert_flows
from tests.support.database import GONE
from tests.support.servers import Servers
from tests.support.world import World, make_world

_DISK_BYTES = 256 * 1024 * 1024
_LEFT_BYTES = 1024 * 1024


@contextmanager
def small_disk() -> Iterator[Path]:
    """Yield a folder of limited size."""
    with tempfile.TemporaryDirectory(prefix="neverstale-disk-") as name:
        options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=755", "neverstale", name]
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a tmpfs")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


async def write_until_full(world: World) -> set[str]:
    """Insert rows, one per transaction, until the disk is full. Return the committed ones."""
    committed: set[str] = set()
    while True:
        try:
            row = await world.database.fetchval(
                "insert into tasks (project_id, title)"
                " values ($1, (select string_agg(md5(random()::text), '')"
                "              from generate_series(1, 2000))) returning id",
                world.apollo,
            )
        except (asyncpg.PostgresError, *GONE):
            return committed
        committed.add(str(row))


async def test_a_full_disk_loses_no_committed_change() -> None:
    with small_disk() as disk, tempfile.TemporaryDirectory() as elsewhere:
        programs = Path(os.environ["POSTGRES_BIN"]) if "POSTGRES_BIN" in os.environ else None
        servers = Servers(
            PostgresServer(disk / "postgres", programs=programs),
            ValkeyServer(Path(elsewhere) / "valkey"),
        )
        servers.postgres.start()
        servers.valkey.start()
        async with make_world(servers) as world:
            await world.listener()
            gateway = await world.gateway()
            async with world.client(gateway, world.apollo, world.ada) as client:
                await assert_flows(world, client)
                ballast = disk / "ballast"
                with ballast.open("wb") as file:
                    left = shutil.disk_usage(disk).free - _LEFT_BYTES
                    os.posix_fallocate(file.fileno(), 0, left)
                committed = await write_until_full(world)
                assert committed
                ballast.unlink()
                await recover(servers.postgres)
                await world.reconnect_database()
                await assert_consistent_after(client, committed)
                await assert_flows(world, client)
        servers.kill()


async def recover(server: PostgresServer) -> None:
    """Restart the server if it exited for lack of space, as it does when the WAL can't grow."""
    assert server.process is not None
    if server.process.poll() is not None:
        server.kill()
        await asyncio.to_thread(server.start)
