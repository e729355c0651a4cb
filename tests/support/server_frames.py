"""Frames that a server sends, read from a raw socket (RFC 6455)."""

import asyncio
from typing import NamedTuple

from tests.support.processes import HANG_SECONDS


class Told(NamedTuple):
    """A frame that the server sent."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        return int.from_bytes(self.payload[:2], "big")


async def read_frame(reader: asyncio.StreamReader) -> Told:
    """Read the next frame, which must be whole and unmasked (sections 5.1 and 5.4)."""
    async with asyncio.timeout(HANG_SECONDS):
        first, length = await reader.readexactly(2)
        assert first & 0xF0 == 0x80
        assert length < 128
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        return Told(first & 0x0F, await reader.readexactly(length))
