"""docs/quickstart.md works as it is written: its commands, their output, its code.

The commands are those of the checkout; ``tests/integration/test_installed_wheel.py`` shows that
those of the wheel do the same. The npm package is the one that ``npm pack`` makes. What npm
would download is that of the demo.
"""

import asyncio
import json
import os
import re
import secrets
import sys
import tarfile
import textwrap
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest_asyncio
from playwright.async_api import expect

from deploy.dev.servers import free_port
from tests.browser.conftest import Stage
from tests.support.commands import Command, run, running
from tests.support.processes import ROOT
from tests.support.servers import Servers

DOCUMENT: Final = (ROOT / "docs/quickstart.md").read_text()
DATABASE: Final = "postgresql://127.0.0.1:5432/notes"
POSTGRES_VERSION: Final = "18"
TOKEN: Final = "eyJhbGciOi..."
PORTS: Final = {"gateway": 8080, "listener": 8081, "redis": 6399, "api": 8000}
NEVERSTALE: Final = f"""\
#!/bin/sh
PYTHONPATH="{ROOT}" exec "{sys.executable}" -P -m neverstale "$@"
"""
PACKAGES: Final = (
    *("react", "react-dom", "@types/react", "@types/react-dom"),
    *("@tanstack/react-query", "vite", "typescript", "ws"),
)
# What Vite's template for React and TypeScript contains, as far as it matters here.
TYPESCRIPT: Final = {
    "target": "es2023",
    "lib": ["ES2023", "DOM"],
    "module": "esnext",
    "types": ["vite/client"],
    "allowArbitraryExtensions": True,
    "skipLibCheck": True,
    "moduleResolution": "bundler",
    "allowImportingTsExtensions": True,
    "verbatimModuleSyntax": True,
    "moduleDetection": "force",
    "noEmit": True,
    "jsx": "react-jsx",
    "strict": True,
    "noUnusedLocals": True,
    "noUnusedParameters": True,
    "erasableSyntaxOnly": True,
    "noFallthroughCasesInSwitch": True,
}
TEMPLATE: Final = {
    "package.json": json.dumps({"type": "module"}),
    "tsconfig.json": json.dumps({"compilerOptions": TYPESCRIPT, "include": ["src"]}),
    "index.html": """\
<!doctype html>
<div id="root"></div>
<script type="module" src="/src/main.tsx"></script>
""",
}


def code(language: str, start: str = "") -> str:
    """Return the only block of code in a language that begins with a text."""
    found = re.findall(rf"^```{language}\n({re.escape(start)}.*?)^```", DOCUMENT, re.M | re.S)
    assert len(found) == 1, (language, start)
    return str(found[0])


def output(command: str) -> list[str]:
    """Return the lines that the document shows below the only use of a command."""
    found = re.findall(
        rf"^( *)\$ {re.escape(command)}\n(.*?)(?=^ *\$ |^ *```)", DOCUMENT, re.M | re.S
    )
    assert len(found) == 1, command
    return textwrap.dedent(found[0][1]).strip().splitlines()


@dataclass
class Project:
    """A folder and a database of a reader, and how to follow the document there."""

    folder: Path
    database: "asyncpg.Connection[asyncpg.Record]"
    database_name: str
    ports: dict[str, int]
    env: dict[str, str]

    def running(self, command: str, *more: str) -> AbstractAsyncContextManager[Command]:
        """Run a command of the document, with further words, inside the block."""
        words = ["bash", "-c", " ".join((command, *more))]
        return running(words, cwd=self.folder, env=self.env)

    async def check(self, command: str) -> None:
        """Run a command of the document to its end, and compare all that it prints."""
        status, printed = await run(["bash", "-c", command], cwd=self.folder, env=self.env)
        assert (status, self.documented(printed)) == (0, output(command))

    def here(self, text: str) -> str:
        """Return code of the document with the ports of this project."""
        for name, port in PORTS.items():
            text = re.sub(rf"\b{port}\b", str(self.ports[name]), text)
        return text

    def documented(self, printed: str) -> list[str]:
        """Return what was printed, with the document's ports, database, version and token."""
        for name, port in self.ports.items():
            printed = re.sub(rf"\b{port}\b", str(PORTS[name]), printed)
        printed = re.sub(rf"postgresql://\S*/{self.database_name}\b", DATABASE, printed)
        printed = re.sub(r"(?<=postgresql: version )\d+", POSTGRES_VERSION, printed)
        return re.sub(r"\beyJ[\w.-]+", TOKEN, printed).splitlines()


@pytest_asyncio.fixture(loop_scope="session")
async def project(servers: Servers, tmp_path: Path) -> AsyncIterator[Project]:
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "neverstale").write_text(NEVERSTALE)
    (commands / "neverstale").chmod(0o755)
    env = {
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
        "DATABASE_URL": url,
    }
    yield Project(tmp_path, database, name, {part: free_port() for part in PORTS}, env)
    await database.close()


async def test_it_works_as_it_is_written(project: Project, theatre: Stage) -> None:
    await project.database.execute(code("sql"))
    await asyncio.gather(install_packages(project), project.check("neverstale init"))
    assert code("toml").strip() in (project.folder / "invalidation.toml").read_text()
    command = "neverstale dev --user 2"
    ports = (f"--{name}-port={project.ports[name]}" for name in PORTS if name != "api")
    async with project.running(command, *ports) as stack:
        await stack.line_with("the socket prints its event")
        lines = iter(project.documented(stack.output))
        for shown in output(command):
            assert shown == "..." or shown in lines, shown  # in this order
        await first_event(project)
        (token,) = re.findall(r"\beyJ[\w.-]+", stack.output)
        await with_tanstack(project, token, theatre)
        await without_tanstack(project)
        await project.check("neverstale check")
    await project.check("neverstale uninstall")


async def install_packages(project: Project) -> None:
    """Install what the document installs with npm, without a download."""
    modules = project.folder / "node_modules"
    for name in PACKAGES:
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).symlink_to((ROOT / "demo/web/node_modules" / name).resolve())
    pack = f"npm pack --ignore-scripts --silent --pack-destination {project.folder}"
    status, printed = await run(pack.split(), cwd=ROOT / "client", env=project.env)
    assert status == 0, printed
    [packed] = project.folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "neverstale")


async def first_event(project: Project) -> None:
    """4. See the first event."""
    command = "neverstale dev socket --project 7"
    async with project.running(command) as socket:
        await socket.line_with("reconnect")
        assert socket.lines == output(command)
        [statement] = re.findall(r'^\$ psql "\$DATABASE_URL" -c "(.*)"$', DOCUMENT, re.M)
        assert [await project.database.execute(statement)] == output(
            f'psql "$DATABASE_URL" -c "{statement}"'
        )
        event = json.loads(await socket.line_with("cache_invalidate"))
    documented = json.loads(code("console", '{"type":"cache_invalidate"'))
    assert without_time(event) == without_time(documented)


def without_time(event: dict[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in event["data"].items() if name != "timestamp"}
    channel, _, cursor = event["cursor"].partition(".")
    return {**event, "data": data, "cursor": (channel, cursor.count("."))}


async def with_tanstack(project: Project, token: str, theatre: Stage) -> None:
    """5. In your app, with TanStack Query."""
    (project.folder / "api.py").write_text(project.here(code("python")))
    app = project.folder / "notes"
    (app / "src").mkdir(parents=True)
    for path, text in {
        **TEMPLATE,
        "src/api.ts": project.here(code("ts")).replace(TOKEN, token),
        "src/main.tsx": project.here(code("tsx")),
    }.items():
        (app / path).write_text(text)
    tsc = "../node_modules/typescript/bin/tsc"
    vite = "../node_modules/vite/bin/vite.js"
    where = ("--host=127.0.0.1", f"--port={free_port()}")
    async with (
        project.running("python api.py") as api,
        running(["node", vite, *where], cwd=app, env=project.env) as server,
        running(["node", tsc], cwd=app, env=project.env) as types,
    ):
        await api.line_with("to quit")
        assert project.documented(api.output) == output("python api.py")
        address = (await server.line_with("Local:")).split()[-1]
        page = await theatre.browser.new_page()
        await page.goto(address)
        notes = page.get_by_role("listitem")
        await expect(notes).to_have_text(["Buy more fuel"])
        await project.database.execute("insert into notes values (44, 7, 'Come home')")
        await expect(notes).to_have_text(["Buy more fuel", "Come home"])
        await project.database.execute("update notes set title = 'Refuel' where id = 42")
        await expect(notes).to_have_text(["Refuel", "Come home"])
        await page.close()
        assert await types.process.wait() == 0, types.output


async def without_tanstack(project: Project) -> None:
    """5. In your app, with JavaScript, without TanStack."""
    (project.folder / "watch.mjs").write_text(project.here(code("js")))
    [command] = re.findall(r"^\$ (TOKEN=.* node watch\.mjs)$", DOCUMENT, re.M)
    [statement] = re.findall(r"The last line came from `(.*?)`", DOCUMENT)
    first, last = output(command)
    async with project.running(command) as watch:
        await watch.line_with(first)
        await project.database.execute(statement)
        assert await watch.line_with("note") == last
