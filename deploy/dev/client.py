"""Two ways to try a running stack: open a socket, and run SQL."""

import json
from typing import Final

import aiohttp
import asyncpg

from deploy.dev.state import StackFailed
from shared.links.postgres import connect_arguments

WS_PATH: Final = "/api/v1/messages/ws"
_REFUSALS: Final = {
    401: "the token is not valid",
    403: "this user may not see this project",
}


async def open_socket(url: str, project: str, token: str, *, v1: bool) -> None:
    """Print each frame until the socket is closed. Raises ``StackFailed``."""
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
            reason = _REFUSALS.get(exc.status, exc.message)
            raise StackFailed(f"the gateway refused with {exc.status}: {reason}") from exc
        except aiohttp.ClientError as exc:
            raise StackFailed(f"no connection: {exc}") from exc


async def run_sql(database_url: str, text: str) -> None:
    """Run one SQL statement; print its rows and its status. Raises ``StackFailed``."""
    try:
        connection = await asyncpg.connect(
            **connect_arguments(database_url, "neverstale dev"), timeout=10
        )
        try:
            statement = await connection.prepare(text)
            for row in await statement.fetch():
                print(json.dumps(dict(row), default=str))
            print(statement.get_statusmsg())
        finally:
            await connection.close()
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise StackFailed(str(exc)) from exc
