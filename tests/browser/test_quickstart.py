"""docs/quickstart.md works as it is written: its commands, their output, its code.

The commands are those of the checkout; ``tests/integration/test_installed_wheel.py`` shows that
those of the wheel do the same. The npm package is the one that ``npm pack`` makes.
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
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from deploy.dev.servers import free_port
from tests.browser.conftest import Stage
from tests.support.commands import run, running
from tests.support.processes import ROOT
from tests.support.servers import Servers

DOCUMENT: Final = (ROOT / "docs/quickstart.md").read_text()
CLIENT: Final = ROOT / "client"
WEB: Final = ROOT / "demo/web/node_modules"
NEVERSTALE: Final = (sys.executable, "-P", "-m", "neverstale")
DATABASE: Final = "postgresql://127.0.0.1:5432/notes"
TOKEN: Final = "eyJhbGciOi..."
PORTS: Final = {"gateway": 8080, "listener": 8081, "redis": 6399}  # in the document
PAGE: Final = """\
<!doctype html>
<div id="root"></div>
<script type="module" src="/src/main.tsx"></script>
"""
# tsconfig.app.json of Vite's template
TYPESCRIPT: Final = {
    "target": "es2023",
    "lib": ["ES2023", "DOM"],
    "module": "esnext",
    "types": ["vite/client"],
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
PACKAGES: Final = (
    *("react", "react-dom", "@types/react", "@types/react-dom"),
    *("@tanstack/react-query", "vite", "typescript", "ws"),
)


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
    """A folder and a database of a reader, and how to run ``neverstale`` there."""

    folder: Path
    database_name: str
    database: "asyncpg.Connection[asyncpg.Record]"
    ports: dict[str, int]
    env: dict[str, str]

    async def check(self, command: str) -> None:
        """Run a command of the document, and compare all that it prints."""
        status, printed = await self.neverstale(*command.split()[1:])
        assert (status, printed.splitlines()) == (0, output(command))

    async def neverstale(self, *words: str) -> tuple[int, str]:
        return await run([*NEVERSTALE, *words], cwd=self.folder, env=self.env)

    def as_documented(self, printed: str) -> list[str]:
        """Return what was printed, with the addresses and the token of the document."""
        for name, port in self.ports.items():
            printed = printed.replace(f":{port}", f":{PORTS[name]}")
        printed = re.sub(rf"postgresql://\S*/{self.database_name}\b", DATABASE, printed)
        return re.sub(r"eyJ[\w.-]+", TOKEN, printed).splitlines()

    def here(self, text: str) -> str:
        """Return code of the document with the address of this gateway."""
        return text.replace(f":{PORTS['gateway']}/", f":{self.ports['gateway']}/")


@pytest_asyncio.fixture(loop_scope="session")
async def project(servers: Servers, tmp_path: Path) -> AsyncIterator[Project]:
    name = f"test_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(servers.postgres.url)
    await admin.execute(f"create database {name}")
    await admin.close()
    url = servers.postgres.database_url(name)
    database = await asyncpg.connect(url)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JWT_")}
    for setting in ("REDIS_URL", "NEVERSTALE_CONFIG"):
        kept.pop(setting, None)
    env = {**kept, "PYTHONPATH": str(ROOT), "DATABASE_URL": url}
    yield Project(tmp_path, name, database, {part: free_port() for part in PORTS}, env)
    await database.close()


async def test_it_works_as_it_is_written(project: Project, theatre: Stage) -> None:
    await project.database.execute(code("sql"))
    await project.check("neverstale init")
    assert code("toml").strip() in (project.folder / "invalidation.toml").read_text()
    ports = (word for name, port in project.ports.items() for word in (f"--{name}-port", port))
    words = [*NEVERSTALE, "dev", *map(str, ports), "--user", "2"]
    async with running(words, cwd=project.folder, env=project.env) as stack:
        await stack.line_with("the socket prints its event")
        shown = set(output("neverstale dev --user 2")) - {"..."}
        assert shown <= set(project.as_documented(stack.output))
        await first_event(project)
        _, token = await project.neverstale("dev", "token", "2")
        app = await build_app(project, token.strip())
        await without_tanstack(project, app, token.strip())
        await with_tanstack(project, app, theatre)
        await project.check("neverstale check")
    await project.check("neverstale uninstall")


async def first_event(project: Project) -> None:
    """4. See the first event."""
    words = [*NEVERSTALE, "dev", "socket", "--project", "7"]
    async with running(words, cwd=project.folder, env=project.env) as socket:
        await socket.line_with("reconnect")
        assert socket.lines == output("neverstale dev socket --project 7")
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


async def build_app(project: Project, token: str) -> Path:
    """Write the document's code into an empty folder, and install what it needs there."""
    app = project.folder / "app"
    modules = app / "node_modules"
    for name in PACKAGES:
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).symlink_to((WEB / name).resolve())
    await succeed(
        *("npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", str(app)),
        cwd=CLIENT,
    )
    [packed] = app.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "neverstale")
    (app / "src").mkdir()
    for path, text in {
        "index.html": PAGE,
        "tsconfig.json": json.dumps({"compilerOptions": TYPESCRIPT, "include": ["src"]}),
        "src/api.ts": code("ts").replace(TOKEN, token),
        "src/main.tsx": project.here(code("tsx")),
        "watch.mjs": project.here(code("js")),
    }.items():
        (app / path).write_text(text)
    return app


async def with_tanstack(project: Project, app: Path, theatre: Stage) -> None:
    """5. In your app, with TanStack Query."""
    await asyncio.gather(
        succeed("node", "node_modules/typescript/bin/tsc", cwd=app),
        succeed("node", "node_modules/vite/bin/vite.js", "build", cwd=app),
    )
    async with serving(app / "dist", project.database) as url:
        page = await theatre.browser.new_page()
        await page.goto(url)
        notes = page.get_by_role("listitem")
        await expect(notes.first).to_have_text("Buy more fuel")
        await project.database.execute("insert into notes values (44, 7, 'Come home')")
        await expect(notes.last).to_have_text("Come home")
        await project.database.execute("update notes set title = 'Refuel' where id = 42")
        await expect(notes.first).to_have_text("Refuel")
        await page.close()


async def without_tanstack(project: Project, app: Path, token: str) -> None:
    """5. In your app, with JavaScript, without TanStack."""
    [command] = re.findall(r"^\$ (TOKEN=.* node watch\.mjs)$", DOCUMENT, re.M)
    *first, last = output(command)
    [statement] = re.findall(r"The last line came from `(.*?)`", DOCUMENT)
    env = {**project.env, "TOKEN": token}
    async with running(["node", "watch.mjs"], cwd=app, env=env) as watch:
        await watch.line_with("refetch everything")
        assert watch.lines == first
        await project.database.execute(statement)
        assert await watch.line_with("INSERT") == last


@asynccontextmanager
async def serving(
    folder: Path, database: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[str]:
    """Serve the built app, and the API that its ``api.ts`` asks."""

    async def notes(request: web.Request) -> web.Response:
        rows = await database.fetch(
            "select id, title from notes where workspace_id = $1 order by id",
            int(request.match_info["workspace"]),
        )
        headers = {"Cache-Control": "no-store"}
        return web.json_response([dict(row) for row in rows], headers=headers)

    async def index(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / "index.html")

    application = web.Application()
    application.add_routes(
        [
            web.get("/", index),
            web.get("/api/workspaces/{workspace}/notes", notes),
            web.static("/assets", folder / "assets"),
        ]
    )
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def succeed(*words: str, cwd: Path) -> None:
    status, printed = await run(words, cwd=cwd, env=os.environ)
    assert status == 0, printed
