"""Connections of an attacker, with a shared bandwidth limit, and counts of responses."""

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from shared.runtime.lifecycle import raise_if_cancelled
from tests.support.database import Database
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE
from tests.support.processes import WS_PATH, token

ADDRESS: Final = (
    "127.0.0.2"  # not the victim's, so limits by address apply to the attacker alone
)
CONNECTIONS: Final = 50
BYTES_PER_SECOND: Final = 2_000_000
CONNECT_BYTES: Final = 300  # bytes of a TCP handshake and close
BURST_SECONDS: Final = 0.05
PIECE_BYTES: Final = 16_384
PATIENCE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.01
RAMP_SECONDS: Final = 0.5
CUT_OFF: Final = (OSError, EOFError, TimeoutError, ValueError)
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close() sends RST (socket(7))
_ZERO_MASK: Final = bytes(4)


@dataclass(frozen=True)
class Target:
    """Addresses, ids and cursors that an attacker is given."""

    port: int
    database_url: str
    redis_url: str
    prefix: str
    user: str
    projects: list[str]
    victim_project: str
    cursors: list[str]

    def as_role(self, role: str) -> str:
        """Return the database's URL for another role."""
        parts = urlsplit(self.database_url)
        return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


class Link:
    """One connection to the gateway."""

    def __init__(
        self, peer: "Peer", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._peer = peer
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send within the bandwidth. Raises one of ``CUT_OFF``."""
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            await self._peer.pace(len(piece))
            if self.writer.is_closing():
                raise EOFError
            self.writer.write(piece)
            await self.writer.drain()

    async def send_for_ever(self, data: bytes) -> None:
        """Send the same data repeatedly and discard all responses. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.drop_answers())
            while True:
                await self.send(data)

    async def drop_answers(self) -> None:
        """Read until the other side closes, which raises ``EOFError``."""
        while data := await self.reader.read(65536):
            self._peer.counts["received bytes"] += len(data)
        raise EOFError

    async def answer(self) -> int:
        """Read the next response with its body, and return its status."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            self._peer.counts[f"status {status}"] += 1
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await self.reader.readexactly(int(line.partition(b":")[2]))
        return status

    async def upgrade(
        self, bearer: str, *, project: str | None = None, query: str = "", v1: bool = True
    ) -> int:
        """Request an upgrade with this token, and return the status."""
        path = f"{WS_PATH}?project_id={project}{query}" if project else f"{WS_PATH}?{query}"
        auth = (
            {"Sec-WebSocket-Protocol": f"neverstale.v1, bearer.{bearer}"}
            if v1
            else {"Authorization": f"Bearer {bearer}"}
        )
        await self.send(request("GET", path, {**UPGRADE, **auth}))
        return await self.answer()

    def reset(self) -> None:
        """Close the connection by RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.writer.transport.abort()


class Peer:
    """One attacker with all its connections. ``counts`` has what it sent and received."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.counts: Counter[str] = Counter()
        self._free_at = 0.0

    def token(self, **claims: Any) -> str:
        return token(self.target.user, **claims)

    async def pace(self, size: int) -> None:
        """Wait until *size* more bytes are within the bandwidth."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - BURST_SECONDS) + size / BYTES_PER_SECOND
        self.counts["sent bytes"] += size
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)

    @asynccontextmanager
    async def linked(self) -> AsyncIterator[Link]:
        """Yield a connection to the gateway from the attacker's address."""
        await self.pace(CONNECT_BYTES)
        async with asyncio.timeout(PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.target.port, local_addr=(ADDRESS, 0)
            )
        self.counts["connections"] += 1
        try:
            yield Link(self, reader, writer)
        finally:
            writer.transport.abort()

    async def repeat(
        self, act: Callable[[Link], Awaitable[None]], *, connections: int = CONNECTIONS
    ) -> None:
        """Run *act* on each of many connections, and reconnect those that are cut off.

        The first connections are spread over 0.5 s: fifty simultaneous log-ins are no attack.
        Never returns.
        """

        async def again(number: int) -> None:
            await asyncio.sleep(number / connections * RAMP_SECONDS)
            while True:
                try:
                    async with self.linked() as link:
                        await act(link)
                    pause_seconds = 0.0
                except* CUT_OFF:
                    self.counts["cut off"] += 1
                    pause_seconds = RETRY_SECONDS
                raise_if_cancelled()
                await asyncio.sleep(pause_seconds)

        async with asyncio.TaskGroup() as tasks:
            for number in range(connections):
                tasks.create_task(again(number))

    async def session(self, role: str, act: Callable[[Database], Awaitable[None]]) -> None:
        """Run *act* on a session of a role, again on a new one when it ends. Never returns."""
        while True:
            try:
                connection = await asyncpg.connect(self.target.as_role(role))
                try:
                    await act(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                self.counts[f"ended by {type(exc).__name__}"] += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def query_for_ever(
        self, role: str, *statements: str, sessions: int = 1, pause_seconds: float = 0.0
    ) -> None:
        """Run statements repeatedly, and count refused ones. Never returns."""

        async def query(connection: Database) -> None:
            while True:
                for statement in statements:
                    try:
                        await connection.execute(statement)
                        self.counts["statements"] += 1
                    except asyncpg.PostgresError as exc:
                        self.counts[f"refused {type(exc).__name__}"] += 1
                        if connection.is_closed():
                            return
                await asyncio.sleep(pause_seconds)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(sessions):
                tasks.create_task(self.session(role, query))


def request(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    version: str = "1.1",
) -> bytes:
    """Return a request's bytes, with Content-Length for a body unless the headers have it."""
    fields = {"Host": "x", **(headers or {})}
    if body and not {"Content-Length", "Transfer-Encoding"} & fields.keys():
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def message(**fields: Any) -> bytes:
    """Return a text frame with a client's message."""
    return frame(1, json.dumps(fields).encode(), mask=_ZERO_MASK)
