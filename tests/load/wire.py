"""Bytes of a load client: the handshake, RFC 6455 frames and row ids.

Everything here is pure. A row's id encodes when it was written and which change of its project
it is, so an event is matched with its row without any lookup.
"""

import base64
import hashlib
from typing import Final
from urllib.parse import quote

CONTINUATION, TEXT, CLOSE, PING, PONG = 0x0, 0x1, 0x8, 0x9, 0xA
EVENT_HEAD: Final = b'{"type":"cache_invalidate","resource":"task"'  # of a row that was written
_ID_HEAD: Final = b'"id":"'
_NO_MASK: Final = bytes(4)  # RFC 6455, section 5.3 protects proxies; there are none here
# one key for all sockets, so that its answer is computed once
_KEY: Final = base64.b64encode(b"a load test key!").decode()
_ACCEPT: Final = base64.b64encode(
    hashlib.sha1(f"{_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
)


class ServerBroke(Exception):
    """The server violated RFC 6455 or our protocol."""


class Refused(Exception):
    """The server did not open the socket."""


def uuid_of(number: int) -> str:
    """Return the id of the project or user with this number, as ``ID_SQL`` makes it."""
    return f"00000000-0000-4000-8000-{number:012x}"


ID_SQL: Final = "('00000000-0000-4000-8000-' || lpad(to_hex({0}), 12, '0'))::uuid"


def row_id(sent_us: int, project: int, change: int) -> str:
    """Return the id of the row that this change of the project writes."""
    late, early = divmod(sent_us, 2**32)
    return f"{early:08x}-{project:04x}-4{late:03x}-8000-{change:012x}"


def read_row(event: bytes) -> tuple[int, int, int]:
    """Return the arguments of ``row_id`` from an event's frame. Raises ``ServerBroke``."""
    at = event.find(_ID_HEAD) + len(_ID_HEAD)
    try:
        return (
            int(event[at : at + 8], 16) | int(event[at + 15 : at + 18], 16) << 32,
            int(event[at + 9 : at + 13], 16),
            int(event[at + 24 : at + 36], 16),
        )
    except ValueError:
        raise ServerBroke(f"an event of a row that was never written: {event!r}") from None


def upgrade_request(
    port: int, project_id: str, token: str, *, is_v1: bool, since: list[str]
) -> bytes:
    """Return the handshake of a plain or a v1 client."""
    query = "".join(f"&since={quote(cursor, safe=':.~')}" for cursor in since)
    credentials = (
        f"Sec-WebSocket-Protocol: neverstale.v1, bearer.{token}"
        if is_v1
        else f"Authorization: Bearer {token}"
    )
    lines = [
        f"GET /api/v1/messages/ws?project_id={project_id}{query} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {_KEY}",
        credentials,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def check_upgraded(head: bytes) -> None:
    """Raise ``Refused`` or ``ServerBroke`` unless the response's head opens the socket."""
    status, *lines = head.split(b"\r\n")
    if b" 101 " not in status:
        raise Refused(status.decode(errors="replace"))
    headers = {
        name.lower(): value.strip() for name, _, value in (s.partition(b":") for s in lines)
    }
    if headers.get(b"sec-websocket-accept") != _ACCEPT:
        raise ServerBroke("Sec-WebSocket-Accept is wrong or missing")


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the complete frames at the start of *data*, as (opcode, payload), and the rest.

    Raises ``ServerBroke``: our gateways neither mask nor fragment nor compress.
    """
    frames: list[tuple[int, bytes]] = []
    at, size = 0, len(data)
    while size - at >= 2:
        first, length = data[at], data[at + 1]
        start = at + 2
        if first & 0xF0 != 0x80 or first & 0x0F == CONTINUATION or length > 127:
            raise ServerBroke(f"a frame that begins with {data[at : at + 2].hex()}")
        if length > 125:
            start += 2 if length == 126 else 8
            if size < start:
                break
            length = int.from_bytes(data[at + 2 : start], "big")
        if size - start < length:
            break
        at = start + length
        frames.append((first & 0x0F, data[start:at]))
    return frames, data[at:]


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Return a masked frame of a client. *payload* must be shorter than 64 KiB."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size <= 125 else b"\xfe" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + _NO_MASK + payload
