"""The two commands to try a running stack with: a plain client, and a line of SQL."""

import json
from typing import Any

import aiohttp
import asyncpg

from deploy.dev.stack import STACK_FILE, StackFailed

WS_PATH = "/api/v1/messages/ws"


def read_stack() -> dict[str, Any]:
    """What the running stack says of itself. Raises ``StackFailed`` if none runs."""
    try:
        described: dict[str, Any] = json.loads(STACK_FILE.read_text())
    except OSError as exc:
        raise StackFailed("no stack is running here: start one with `make dev`") from exc
    return described


async def open_socket(url: str, project: str, token: str, *, v1: bool) -> None:
    """Print every frame as it comes, until the socket is closed. Raises ``StackFailed``."""
    headers = {} if v1 else {"Authorization": f"Bearer {token}"}
    protocols = ("neverstale.v1", f"bearer.{token}") if v1 else ()
    async with aiohttp.ClientSession() as http:
        try:
            async with http.ws_connect(
                f"{url}{WS_PATH}",
                params={"project_id": project},
                headers=headers,
                protocols=protocols,
            ) as socket:
                async for message in socket:
                    print(message.data, flush=True)
                print(f"closed with {socket.close_code}")
        except aiohttp.WSServerHandshakeError as exc:
            raise StackFailed(f"refused with {exc.status}") from exc
        except aiohttp.ClientError as exc:
            raise StackFailed(f"no connection: {exc}") from exc


async def run_sql(database_url: str, text: str) -> None:
    """Run SQL and print its rows or its status. Raises ``StackFailed``."""
    try:
        connection = await asyncpg.connect(database_url, timeout=10)
        try:
            statement = await connection.prepare(text)
            for row in await statement.fetch():
                print(dict(row))
            print(statement.get_statusmsg())
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as exc:
        raise StackFailed(str(exc)) from exc
