"""Raw handshakes with a gateway, and helpers that expect a refusal."""

import asyncio
import base64
from typing import Final

from tests.support.demo_data import ADA, APOLLO
from tests.support.processes import WS_PATH, Client, Part, token
from tests.support.world import World

UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"sixteen bytes ok").decode(),
}


GOOD: Final = token(ADA)


async def refused_plain(
    world: World, gateway: Part, query: str, headers: dict[str, str]
) -> tuple[int, str]:
    async with world.http.get(
        f"{gateway.url}{WS_PATH}{query}", headers={**UPGRADE, **headers}
    ) as response:
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert error["message"]
        return response.status, error["code"]


async def refused_v1(
    world: World, gateway: Part, query: str, bearer: str | None
) -> tuple[int | None, str]:
    protocols = ["neverstale.v1"] + ([f"bearer.{bearer}"] if bearer is not None else [])
    async with world.http.ws_connect(
        f"{gateway.url}{WS_PATH}{query}", protocols=protocols
    ) as socket:
        client = Client(socket)
        frame = await client.next()
        assert frame["type"] == "error"
        assert frame["message"]
        return await client.closed(), frame["code"]


def handshake() -> bytes:
    """Return the bytes of a plain client's request."""
    headers = {**UPGRADE, "Host": "x", "Authorization": f"Bearer {GOOD}"}
    lines = [f"GET {WS_PATH}?project_id={APOLLO} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def raw_socket(gateway: Part) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a socket and complete the handshake; any bytes can be sent on it afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(handshake())
    assert b" 101 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer
