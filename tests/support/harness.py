"""An HTTP server that starts real stacks and controls them, for the TypeScript tests."""

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from aiohttp import web

from tests.support.database import GONE
from tests.support.processes import HANG_SECONDS, ROOT, WS_PATH, Part, token
from tests.support.servers import Servers, running_servers, start_again
from tests.support.world import World, install_config, make_world

_MINE: Final = """(select id from projects where owner_id = $2::uuid
 union select project_id from project_members where user_id = $2::uuid)"""
# the response of an app's API for each query key of the default mapping
_QUERIES: Final = {
    ("projects", "list"): "projects t where t.id in {mine} and $1::uuid is null",
    ("projects", "detail"): "projects t where t.id in {mine} and t.id = $1",
    ("projects", "bundle"): """(
        select s.id, to_jsonb(s) from sprints s where s.project_id = $1
        union all
        select m.user_id, to_jsonb(m) from project_members m where m.project_id = $1
    ) t where $1 in {mine}""",
    ("sprints", "detail"): "sprints t where t.project_id in {mine} and t.id = $1",
    ("sprints", "list"): "sprints t where t.project_id in {mine} and t.project_id = $1",
    ("tasks", "detail"): "tasks t where t.project_id in {mine} and t.id = $1",
    ("tasks", "list"): "tasks t where t.project_id in {mine} and t.project_id = $1",
    ("tasks", "sprint"): "tasks t where t.project_id in {mine} and t.sprint_id = $1",
    ("messages", "list"): "messages t where t.project_id in {mine} and t.project_id = $1",
    ("projectMembers",): "project_members t where t.project_id in {mine} and t.project_id = $1",
}


@dataclass
class HarnessStack:
    """A world with its parts by name, and a connection pool for many clients' reads."""

    world: World
    pool: "asyncpg.Pool[asyncpg.Record]"
    parts: dict[str, Part]

    async def read(self, key: list[str], user_id: str) -> str:
        """Return the API's response as JSON. Raises ``KeyError`` for an unknown key."""
        *kind, last = key
        if (name := tuple(kind)) not in _QUERIES:
            name, last = tuple(key), ""
        query = _QUERIES[name].format(mine=_MINE)
        rows = "coalesce(jsonb_agg(to_jsonb(t) order by to_jsonb(t)::text), '[]')"
        answer: str = await self.pool.fetchval(
            f"select {rows} from {query}", last or None, user_id
        )
        return answer

    async def handle_part(self, name: str, action: str) -> None:
        """Apply the named action to a part or a server."""
        if name in ("valkey", "postgres"):
            server = getattr(self.world.servers, name)
            if action == "start":
                await start_again(server)
            else:
                await asyncio.to_thread(getattr(server, action))
            return
        part = self.parts[name]
        match action:
            case "start":
                await part.start()
            case "ready":
                await part.ready(self.world.http)
            case "stop" | "kill":
                await part.end(signal.SIGTERM if action == "stop" else signal.SIGKILL)
            case _:
                raise KeyError(action)


class Harness:
    """Routes for opening stacks, reading and writing their data, and breaking their parts."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._stacks: list[HarnessStack] = []
        self._endings: list[AsyncExitStack] = []
        self._opening = asyncio.Lock()  # one at a time: each start is a burst of CPU

    async def end(self) -> None:
        """End all stacks. Raises what was wrong with any of them."""
        await asyncio.gather(*(ending.aclose() for ending in self._endings))

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/stacks", self._open_own),
                web.get("/stacks/shared", self._shared),
                web.get("/token", self._token),
                web.get("/stacks/{stack}/read", self._read),
                web.post("/stacks/{stack}/sql", self._sql),
                web.post("/stacks/{stack}/parts/{name}/{action}", self._part),
            ]
        )
        return app

    async def open_shared(self) -> None:
        """Open the first stack, on the servers that other tests share."""
        await self._open(self._servers, AsyncExitStack(), gateways=1, listeners=1)

    async def _open_own(self, request: web.Request) -> web.Response:
        asked = await request.json()
        ending = AsyncExitStack()
        running = running_servers()
        async with self._opening:
            servers = await asyncio.to_thread(running.__enter__)
            ending.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
            stack = await self._open(servers, ending, **asked)
        return web.json_response(self._describe(stack))

    async def _open(
        self,
        servers: Servers,
        ending: AsyncExitStack,
        *,
        gateways: int,
        listeners: int,
        resources: Mapping[str, str] | None = None,
    ) -> HarnessStack:
        self._endings.append(ending)
        world = await ending.enter_async_context(make_world(servers))
        if resources:
            folder = ending.enter_context(
                tempfile.TemporaryDirectory(prefix="neverstale-test-")
            )
            await _rename_resources(world, Path(folder), resources)
        pool = await ending.enter_async_context(
            asyncpg.create_pool(world.database_url, min_size=1, max_size=6)
        )
        # the first listener leads: start the others once it does
        leader, *gateway_parts = await asyncio.gather(
            world.listener(), *(world.gateway() for _ in range(gateways))
        )
        standby = [await world.listener(role="standby") for _ in range(listeners - 1)]
        parts = {f"listener{number}": part for number, part in enumerate([leader, *standby])}
        parts |= {f"gateway{number}": part for number, part in enumerate(gateway_parts)}
        stack = HarnessStack(world, pool, parts)
        self._stacks.append(stack)
        return stack

    async def _shared(self, _request: web.Request) -> web.Response:
        return web.json_response(self._describe(self._stacks[0]))

    def _describe(self, stack: HarnessStack) -> dict[str, Any]:
        ports = [p.port for name, p in stack.parts.items() if name.startswith("gateway")]
        number = self._stacks.index(stack)
        return {"number": number, "wsPath": WS_PATH, "gatewayPorts": ports}

    def _stack(self, request: web.Request) -> HarnessStack:
        return self._stacks[int(request.match_info["stack"])]

    async def _token(self, request: web.Request) -> web.Response:
        claims = {}
        if "seconds" in request.query:
            claims["exp"] = int(time.time()) + int(request.query["seconds"])
        return web.Response(text=token(request.query["user"], **claims))

    async def _read(self, request: web.Request) -> web.Response:
        key = json.loads(request.query["key"])
        try:
            answer = await self._stack(request).read(key, request.query["user"])
        except GONE:
            raise web.HTTPServiceUnavailable(text="the database is unavailable") from None
        return web.Response(
            text=answer,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def _sql(self, request: web.Request) -> web.Response:
        asked = await request.json()
        async with asyncio.timeout(HANG_SECONDS):
            rows = await self._write(self._stack(request), asked["sql"], asked["values"])
        return web.json_response([dict(row) for row in rows], dumps=_dumps)

    async def _write(
        self, stack: HarnessStack, sql: str, values: list[Any]
    ) -> "list[asyncpg.Record]":
        """Retry until the database has run it, which may be twice."""
        while True:
            try:
                return await stack.pool.fetch(sql, *values)
            except GONE:
                await asyncio.sleep(0.05)

    async def _part(self, request: web.Request) -> web.Response:
        name, action = request.match_info["name"], request.match_info["action"]
        await self._stack(request).handle_part(name, action)
        return web.json_response({})


async def _rename_resources(world: World, folder: Path, names: Mapping[str, str]) -> None:
    """Give the world an ``invalidation.toml`` in which resources are called otherwise."""
    text = (ROOT / "invalidation.toml").read_text()
    for name, other in names.items():
        text = text.replace(f'resource = "{name}"', f'resource = "{other}"')
    config = folder / "invalidation.toml"
    config.write_text(text)
    world.more["NEVERSTALE_CONFIG"] = str(config)
    await install_config(world.database, config)


def _dumps(value: Any) -> str:
    return json.dumps(value, default=str)


@asynccontextmanager
async def serving(servers: Servers) -> AsyncIterator[str]:
    """Yield the harness's address. All opened stacks end with it."""
    harness = Harness(servers)
    runner = web.AppRunner(harness.application())
    await runner.setup()
    try:
        await harness.open_shared()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
        await harness.end()
