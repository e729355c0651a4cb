"""A client's end of a socket, and its handshake request."""

import asyncio
from collections.abc import Callable

from aiohttp.http import HttpVersion11

from gateway.http.endpoint import WS_PATH
from tests.simulation.clockwork import Loop
from tests.support.frames import frame


class Socket:
    """A socket; plays its transport for the gateway."""

    def __init__(self, request: "Request", loop: Loop) -> None:
        self.request = request
        self.frames: list[bytes] = []  # written, not read yet
        self.status: int | None = None  # of a refusal before the upgrade
        self.is_slow = False
        self.has_left = False
        self.watch: Callable[[bytes], None] = lambda _: None
        self._loop = loop
        self._said: list[bytes] = []
        self._is_paused = False
        self._protocol: asyncio.Protocol

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def get_extra_info(self, _name: str) -> None:
        """Its address is not known: nothing is counted by it."""

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            head, _, data = data.partition(b"\r\n\r\n")
            status = int(head.split()[1])
            if status != 101:
                self.status = status
                return
        if data:
            self.frames.append(data)
            self.watch(data)

    def write_eof(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 10**6 if self.is_slow and self.frames else 0

    def is_closing(self) -> bool:
        return self.has_left

    def abort(self) -> None:
        self.hang_up()

    def close(self) -> None:
        self.hang_up()

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.call_soon(self._read)

    def say(self, text: str) -> None:
        self._send(frame(1, text.encode()))

    def pong(self) -> None:
        self._send(frame(10, b""))

    def hang_up(self) -> None:
        if not self.has_left:
            self.has_left = True
            self._loop.call_soon(self._lose)

    def _send(self, data: bytes) -> None:
        self._said.append(data)
        self._loop.call_soon(self._read)

    def _read(self) -> None:
        while self._said and not self._is_paused and not self.has_left:
            self._protocol.data_received(self._said.pop(0))

    def _lose(self) -> None:
        self._protocol.connection_lost(None)


class Request:
    """The head of a handshake request, and the socket that it came on."""

    def __init__(self, user: str, query: list[tuple[str, str]], *, is_v1: bool) -> None:
        self.user = user
        self.is_v1 = is_v1
        self.project = dict(query).get("project_id")
        self._query = query
        self.method = "GET"
        self.version = HttpVersion11
        self.path = WS_PATH
        self.headers = self
        self.query = self
        self.transport = None
        self.socket: Socket

    def getall(self, name: str, _default: object) -> list[str]:
        headers = {
            "Connection": ["Upgrade"],
            "Upgrade": ["websocket"],
            "Version": ["13"],
            "Sec-WebSocket-Version": ["13"],
            "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ=="],
            "Authorization": [f"Bearer {self.user}"],
            "Sec-WebSocket-Protocol": ["neverstale.v1"] if self.is_v1 else [],
        }
        return headers.get(name, []) + [value for key, value in self._query if key == name]
