"""PgBouncer in front of a database, in each of its pool modes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Final

import pytest

from deploy.dev.servers import free_port
from tests.support.world import World

MODES: Final = ("session", "transaction", "statement")


@contextmanager
def running_pooler(world: World, folder: Path) -> Iterator[str]:
    """Yield the pooler's URL. It has one database per mode, named after the mode."""
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port, name = free_port(), world.database_url.rpartition("/")[2]
    databases = "\n".join(
        f"{mode} = host=127.0.0.1 port={world.servers.postgres.port} dbname={name}"
        f" pool_mode={mode}"
        for mode in MODES
    )
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{databases}\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nauth_type=trust\n"
        f"auth_file={folder}/users\nunix_socket_dir=\ndefault_pool_size=5\n"
    )
    for path in (folder, *folder.parents[:2], *folder.iterdir()):
        path.chmod(0o755)
    process = Popen(
        [program, "-u", "nobody", str(folder / "pgbouncer.ini")],
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    yield f"postgresql://postgres@127.0.0.1:{port}"
    process.terminate()
    process.wait()
