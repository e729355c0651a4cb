"""The wheel in an environment of its own does everything that a checkout does."""

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg
import jwt
import pytest

from deploy.dev.servers import free_port
from tests.support.commands import HANG_SECONDS, run, running, until_ready
from tests.support.servers import Servers

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("listener", "gateway", "operations", "shared", "deploy")
SECRET: Final = "a secret for tests that is long enough"
WORKSPACE: Final = "11111111-0000-4000-8000-000000000001"
SCHEMA: Final = f"""
create table people (id bigint primary key, name text);
create table workspaces (id uuid primary key, owner_id bigint references people, name text);
create table notes (
    id bigint primary key, workspace_id uuid not null references workspaces, body text);
insert into people values (1, 'Ada'), (2, 'Grace');
insert into workspaces values ('{WORKSPACE}', 1, 'Apollo');
"""


@dataclass
class Installation:
    """A virtual environment with the wheel, and an empty folder to work in."""

    site_packages: Path
    wheel: Path
    command: Path
    folder: Path
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Build an sdist, a wheel from the sdist, and install the wheel without its dependencies.

    The dependencies are those of the environment that runs the tests: nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("neverstale", *PACKAGES):
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    _check_call("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(sources))
    [wheel] = (folder / "dist").glob("*.whl")
    [_sdist] = (folder / "dist").glob("*.tar.gz")
    venv = folder / "venv"
    _check_call("-m", "venv", "--without-pip", str(venv))
    options = ("--no-deps", "--no-index", "--disable-pip-version-check", "--no-compile")
    _check_call("-m", "pip", f"--python={venv}/bin/python", "install", *options, str(wheel))
    [site_packages] = venv.glob("lib/python*/site-packages")
    (site_packages / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    yield Installation(site_packages, wheel, venv / "bin" / "neverstale", folder)
    shutil.rmtree(folder)


def _check_call(*words: str) -> None:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def project(
    installed: Installation, servers: Servers, tmp_path: Path
) -> AsyncIterator[tuple[Installation, "asyncpg.Connection[asyncpg.Record]"]]:
    """An empty folder and a database with somebody's schema; no module of the checkout."""
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    await database.execute(SCHEMA)
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": url,
        "REDIS_URL": servers.valkey.url,
        "REDIS_PREFIX": f"{name}:",
        "JWT_SECRET": SECRET,
        "HOST": "127.0.0.1",
    }
    folder = tmp_path / "project"
    folder.mkdir()
    # A user's own package of the same name does not hide the one in the wheel.
    (folder / "shared").mkdir()
    (folder / "shared" / "__init__.py").write_text("raise AssertionError('the wrong package')")
    yield (
        Installation(installed.site_packages, installed.wheel, installed.command, folder, env),
        database,
    )
    await database.close()


def test_the_wheel_adds_one_top_level_package(installed: Installation) -> None:
    names = {path.name.partition("-")[0] for path in installed.site_packages.iterdir()}
    assert names == {"neverstale", "tests.pth"}


def test_the_wheel_has_every_source_file(installed: Installation) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
    for package in ("neverstale", *PACKAGES):
        folder = "" if package == "neverstale" else "neverstale/_packages/"
        sources = {
            f"{folder}{path.relative_to(ROOT).as_posix()}"
            for path in (ROOT / package).rglob("*")
            if path.suffix in (".py", ".sql", ".lua", ".typed", ".html", ".css", ".js")
        }
        assert sources <= names
    [metadata] = [name for name in names if name.endswith("METADATA")]
    [licence] = [name for name in names if name.endswith("licenses/LICENSE")]
    assert metadata.partition("/")[0] == licence.partition("/")[0]


async def test_a_program_of_the_user_imports_the_client_and_none_of_our_other_packages(
    project: tuple[Installation, "asyncpg.Connection[asyncpg.Record]"],
) -> None:
    installation, _ = project
    script = """
import sys
from neverstale.client import Client
Client("wss://gateway/ws", token="t", projects=["7"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    python = installation.command.parent / "python"
    code, output = await run([python, "-c", script], cwd=installation.folder, env={})
    assert code == 0, output
    assert not {*PACKAGES, "asyncpg", "redis", "pydantic", "uvloop"} & set(output.split())


async def test_the_command_line_is_documented(installed: Installation) -> None:
    async def neverstale(*words: str) -> tuple[int, str]:
        return await run([installed.command, *words], cwd=installed.folder, env={})

    code, output = await neverstale("--help")
    assert code == 0
    commands = ("init", "install", "check", "sql", "types", "disable", "uninstall")
    for command in (*commands, "dev", "listener", "gateway"):
        assert f"\n    {command} " in output
    code, output = await neverstale("--version")
    assert (code, output.split()[0]) == (0, "neverstale")
    assert output.split()[1] in installed.wheel.name
    code, output = await neverstale("install", "--help")
    assert (code, "usage: neverstale install" in output, "DATABASE_URL" in output) == (
        0,
        True,
        True,
    )
    code, output = await neverstale("listener", "--help")
    assert (code, "usage: neverstale listener" in output) == (0, True)
    for wrong in ((), ("bogus",), ("check", "--owner", "x"), ("gateway",), ("dev",)):
        code, output = await neverstale(*wrong)
        assert (code, "Traceback" in output) == (2, False), output


async def test_everything_runs_from_the_wheel_in_a_folder_of_the_user(
    project: tuple[Installation, "asyncpg.Connection[asyncpg.Record]"],
) -> None:
    installation, database = project
    command, folder, env = installation.command, installation.folder, installation.env

    async def neverstale(*words: str) -> tuple[int, str]:
        return await run([command, *words], cwd=folder, env=env)

    code, output = await neverstale("init")
    assert (code, "run neverstale install" in output) == (0, True), output
    code, output = await neverstale("check")
    assert code == 1, output
    code, output = await neverstale("install")
    assert code == 0, output
    code, output = await neverstale("check")
    assert code == 0, output
    code, output = await neverstale("sql")
    assert (code, "neverstale.change_log" in output) == (0, True), output

    health_port, port = free_port(), free_port()
    env |= {"HEALTH_PORT": str(health_port), "PORT": str(port)}
    module = (installation.command.parent / "python", "-P", "-m", "neverstale")
    async with (
        aiohttp.ClientSession() as http,
        running([command, "listener"], cwd=folder, env=env) as listener,
        running([*module, "gateway"], cwd=folder, env=env) as gateway,
    ):
        await asyncio.gather(
            until_ready(http, health_port, listener), until_ready(http, port, gateway)
        )
        bearer = jwt.encode({"sub": "1", "exp": 4_000_000_000}, SECRET, algorithm="HS256")
        async with http.ws_connect(
            f"http://127.0.0.1:{port}/api/v1/messages/ws?project_id={WORKSPACE}",
            headers={"Authorization": f"Bearer {bearer}"},
        ) as socket:
            async with asyncio.timeout(HANG_SECONDS):
                assert (await socket.receive_json())["type"] == "reconnect"
                await database.execute(
                    f"insert into notes values (7, '{WORKSPACE}', 'Lift off')"
                )
                event = (await socket.receive_json())["data"]
        assert (event["resource"], event["action"], event["id"]) == ("note", "INSERT", "7")
        assert (await listener.end(), await gateway.end()) == (0, 0)

    code, output = await neverstale("disable")
    assert code == 0, output
    code, output = await neverstale("uninstall")
    assert code == 0, output
    assert not await database.fetchval("select to_regnamespace('neverstale')")


async def test_dev_runs_from_the_wheel(
    project: tuple[Installation, "asyncpg.Connection[asyncpg.Record]"],
) -> None:
    installation, _ = project
    command, folder = installation.command, installation.folder
    env = {name: value for name, value in installation.env.items() if name != "REDIS_URL"}
    code, output = await run([command, "init"], cwd=folder, env=env)
    assert code == 0, output
    ports = [
        word
        for name in ("gateway", "listener", "redis")
        for word in (f"--{name}-port", str(free_port()))
    ]
    async with running([command, "dev", *ports, "--user", "1"], cwd=folder, env=env) as stack:
        await stack.line_with("Neverstale is running")
        code, output = await run([command, "dev", "token", "1"], cwd=folder, env=env)
        claims = jwt.decode(output.strip(), SECRET, algorithms=["HS256"])
        assert (code, claims["sub"]) == (0, "1")
        assert await stack.end() == 0, stack.output
