"""RFC 6455 from a raw socket: each frame that breaks it ends with the documented close code,
each that does not is answered.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import pytest

from tests.support.frames import frame
from tests.support.handshakes import handshake, raw_socket
from tests.support.processes import HANG_SECONDS, Part
from tests.support.server_frames import Told, read_frame
from tests.support.world import World

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
EURO: Final = "\N{EURO SIGN}".encode()
MAX_BYTES: Final = 65_536


async def answer(reader: asyncio.StreamReader) -> Told:
    """The first frame that is no event."""
    while (told := await read_frame(reader)).opcode == TEXT:
        pass
    return told


async def at_end(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes the connection and sends nothing more."""
    async with asyncio.timeout(HANG_SECONDS):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True  # it had bytes of ours that it did not read


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def part(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, payload, fin=False)


VIOLATIONS: Final = {
    "5.1 no mask": (frame(TEXT, b"{}", mask=None), 1002),
    "5.1 no mask on a ping": (frame(PING, b"", mask=None), 1002),
    "5.1 no mask after a good frame": (frame(PONG, b"") + frame(TEXT, b"{}", mask=None), 1002),
    "5.2 reserved bit 1": (frame(TEXT, b"{}", reserved=4), 1002),
    "5.2 reserved bit 2": (frame(TEXT, b"{}", reserved=2), 1002),
    "5.2 reserved bit 3": (frame(TEXT, b"{}", reserved=1), 1002),
    "5.2 reserved bit of a ping": (frame(PING, b"", reserved=4), 1002),
    **{f"5.2 opcode {code}": (frame(code, b""), 1002) for code in (3, 4, 5, 6, 7)},
    **{f"5.2 opcode {code}": (frame(code, b""), 1002) for code in (11, 12, 13, 14, 15)},
    "5.2 length over 63 bits": (frame(TEXT, b"", length=2**64 - 1), 1009),
    "5.4 continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "5.4 open continuation of nothing": (part(CONTINUATION, b"x"), 1002),
    "5.4 continuation after the end": (
        part(TEXT, b"{") + frame(CONTINUATION, b"}") + frame(CONTINUATION, b"x"),
        1002,
    ),
    "5.4 message in a message": (part(TEXT, b"a") + frame(TEXT, b"b"), 1002),
    "5.4 message in an empty message": (part(TEXT, b"") + frame(TEXT, b"b"), 1002),
    "5.4 fragment in a message": (part(TEXT, b"a") + part(TEXT, b"b"), 1002),
    "5.4 binary in a text": (part(TEXT, b"a") + frame(BINARY, b"b"), 1002),
    "5.5 fragmented ping": (part(PING, b""), 1002),
    "5.5 fragmented close": (part(CLOSE, b""), 1002),
    "5.5 ping of 126 bytes": (frame(PING, b"x" * 126), 1002),
    "5.5 close of 126 bytes": (close(1000, b"x" * 124), 1002),
    "5.6 binary": (frame(BINARY, b"x"), 1003),
    "5.6 fragmented binary": (part(BINARY, b"x") + frame(CONTINUATION, b"y"), 1003),
    "8.1 not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "8.1 a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "8.1 overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "8.1 cut off": (frame(TEXT, EURO[:2]), 1007),
    "8.1 cut off over fragments": (part(TEXT, EURO[:1]) + frame(CONTINUATION, EURO[1:2]), 1007),
    "8.1 not UTF-8 in a later fragment": (
        part(TEXT, EURO) + frame(CONTINUATION, b"\xff"),
        1007,
    ),
    "7.1.6 a reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "10.4 too big": (frame(TEXT, b"x" * (MAX_BYTES + 1)), 1009),
    "10.4 too big by its length": (frame(TEXT, b"", length=MAX_BYTES + 1), 1009),
    "10.4 too big in all": (
        part(TEXT, b"x" * MAX_BYTES) + frame(CONTINUATION, b"x"),
        1009,
    ),
    "5.5.1 close with half a code": (frame(CLOSE, b"x"), 1002),
    **{
        f"7.4 close {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)
    },
}
GOOD_CODES: Final = [
    *(None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014),
    *(3000, 3999, 4000, 4999),
]
FINE: Final = {
    "5.5.2 ping": ([frame(PING, b"")], b""),
    "5.5.2 ping of 125 bytes": ([frame(PING, b"x" * 125)], b"x" * 125),
    "5.5.2 ping of any bytes": ([frame(PING, b"\x00\xff")], b"\x00\xff"),
    "5.5.3 pong that nobody asked for": ([frame(PONG, b"x"), frame(PING, b"p")], b"p"),
    "5.4 ping between fragments": (
        [part(TEXT, b"{"), frame(PING, b"p"), frame(CONTINUATION, b"}")],
        b"p",
    ),
    "5.4 empty fragments": (
        [part(TEXT, b""), part(CONTINUATION, b""), frame(CONTINUATION, b""), frame(PING, b"p")],
        b"p",
    ),
    "8.1 a character over two fragments": (
        [part(TEXT, EURO[:1]), frame(CONTINUATION, EURO[1:]), frame(PING, b"p")],
        b"p",
    ),
    "10.4 as big as may be": ([frame(TEXT, b"x" * MAX_BYTES), frame(PING, b"p")], b"p"),
    "5.3 a mask of zeros": ([frame(PING, b"p", mask=bytes(4))], b"p"),
    "5.2 longer spelling of a length": (
        [b"\x89\x80\x00\x00\x00\x00", frame(PING, b"p")],
        b"",
    ),
}


@pytest.fixture
async def gateway(world: World) -> Part:
    await world.listener()
    return await world.gateway()


@asynccontextmanager
async def opened(gateway: Part) -> AsyncIterator[Streams]:
    reader, writer = await raw_socket(gateway)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ending(reader: asyncio.StreamReader) -> int:
    """The close code, after answers to what came before it."""
    while (told := await answer(reader)).opcode == PONG:
        pass
    assert told.opcode == CLOSE
    return told.code


async def test_what_breaks_the_protocol_closes_with_its_code(gateway: Part) -> None:
    told = {}
    for name, (sent, _) in VIOLATIONS.items():
        async with opened(gateway) as (reader, writer):
            writer.write(sent)
            told[name] = await ending(reader)
            writer.write(close(told[name]))
            assert await at_end(reader), name
    assert told == {name: code for name, (_, code) in VIOLATIONS.items()}


async def test_it_does_so_byte_by_byte_too(gateway: Part) -> None:
    short = {name: case for name, case in VIOLATIONS.items() if len(case[0]) < 300}
    told = {}
    for name, (sent, _) in short.items():
        async with opened(gateway) as (reader, writer):
            told_code = asyncio.ensure_future(ending(reader))
            for byte in sent:
                if told_code.done():  # the gateway need not wait for the rest of it
                    break
                # past the transport, which would give up reading when the gateway has closed
                with suppress(ConnectionError):
                    os.write(writer.get_extra_info("socket").fileno(), bytes([byte]))
                await asyncio.sleep(0)
            told[name] = await told_code
    assert told == {name: code for name, (_, code) in short.items()}


async def test_what_keeps_to_it_is_answered(gateway: Part) -> None:
    told = {}
    for name, (frames, _) in FINE.items():
        async with opened(gateway) as (reader, writer):
            for sent in frames:
                writer.write(sent)
            told[name] = await answer(reader)
            writer.write(close(1000))
            assert await ending(reader) == 1000, name
            assert await at_end(reader), name
    assert told == {name: (PONG, echoed) for name, (_, echoed) in FINE.items()}


async def test_a_close_is_answered_and_the_connection_ended(gateway: Part) -> None:
    for code in GOOD_CODES:
        async with opened(gateway) as (reader, writer):
            writer.write(frame(CLOSE, b"") if code is None else close(code, b"why"))
            assert await ending(reader) == 1000, code
            assert await at_end(reader), code


async def test_what_comes_after_a_close_counts_for_nothing(gateway: Part) -> None:
    async with opened(gateway) as (reader, writer):
        writer.write(close(1000) + frame(PING, b"p") + frame(TEXT, b"\xff"))
        told = await answer(reader)
        assert (told.opcode, told.code) == (CLOSE, 1000)
        assert await at_end(reader)


async def test_a_client_that_does_not_wait_for_the_handshake_is_judged_alike(
    gateway: Part,
) -> None:
    for sent, opcode in ((frame(PING, b"p"), PONG), (frame(PING, b"p", mask=None), CLOSE)):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(handshake() + sent)
        await reader.readuntil(b"\r\n\r\n")
        told = await answer(reader)
        writer.transport.abort()
        assert told.opcode == opcode
