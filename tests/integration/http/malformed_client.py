"""A client that keeps to no rule: random, malformed, fragmented, oversized and unmasked frames,
handshakes that are none, and messages of all kinds; reproducible by its seed.
"""

import asyncio
import json
import random
from collections import Counter
from typing import Any, Final

from tests.support.frames import frame
from tests.support.handshakes import UPGRADE
from tests.support.processes import WS_PATH, Part, token

PATIENCE_SECONDS: Final = 1.0
_TYPES: Final = ("ping", "subscribe", "unsubscribe", "auth", "connected", "", 7, None)


class Rogue:
    """Counts what came back: HTTP statuses, close codes, and what is no frame of a server."""

    def __init__(self, gateway: Part, user_id: str, project_ids: list[str], seed: int) -> None:
        self._gateway = gateway
        self._user_id = user_id
        self._project_ids = project_ids
        self._random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.close_codes: Counter[int] = Counter()
        self.faults: list[str] = []

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
            try:
                await self._misbehave(reader, writer)
            except* (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                pass  # cut off, as it deserves
            finally:
                writer.transport.abort()

    async def _misbehave(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self._send(writer, self._handshake())
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.statuses[status] += 1
        if status != 101:
            return
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(reader))
            for _ in range(self._random.randint(0, 12)):
                await self._send(writer, self._frames())
                if self._random.random() < 0.05:
                    break
            if self._random.random() < 0.3:
                reading.cancel()  # gone without a word

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """In pieces of any size, with and without a rest between them."""
        while data:
            small = (1, 2, 5, 100) if len(data) < 1000 else (1000,)
            size = self._random.choice((*small, len(data)))
            writer.write(data[:size])
            data = data[size:]
            if self._random.random() < 0.2:
                await asyncio.sleep(0)
            await writer.drain()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await self._read_frame(reader):
                    pass
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass

    async def _read_frame(self, reader: asyncio.StreamReader) -> bool:
        first, length = await reader.readexactly(2)
        if length in (126, 127):
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
        payload = await reader.readexactly(length)
        match first:
            case 0x81:
                json.loads(payload)
            case 0x88:
                self.close_codes[int.from_bytes(payload[:2], "big")] += 1
                return False
            case 0x89 | 0x8A:
                pass
            case _:
                self.faults.append(f"a frame that begins with {first:#x}")
        return True

    def _handshake(self) -> bytes:
        dice = self._random.random()
        if dice < 0.05:
            return self._random.randbytes(self._random.randint(1, 300)) + b"\r\n\r\n"
        bearer = token(self._user_id)
        if dice < 0.15:
            at = self._random.randrange(len(bearer))
            bearer = bearer[:at] + self._random.choice("aB-_.%") + bearer[at + 1 :]
        headers = {**UPGRADE, "Host": "x"}
        if self._random.random() < 0.5:
            headers["Authorization"] = f"Bearer {bearer}"
        else:
            headers["Sec-WebSocket-Protocol"] = f"neverstale.v1, bearer.{bearer}"
        query = self._random.choice(
            [f"?project_id={id_}" for id_ in self._project_ids] + ["", "?project_id=x"]
        )
        lines = [f"GET {WS_PATH}{query} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _frames(self) -> bytes:
        chosen = self._random
        payload = chosen.randbytes(chosen.choice((0, 1, 125, 126, 2000)))
        return chosen.choice(
            (
                lambda: chosen.randbytes(chosen.randint(1, 200)),
                lambda: frame(1, self._message()),
                lambda: frame(1, self._message()),
                lambda: frame(1, self._message()),
                lambda: frame(9, payload[:125]) * chosen.choice((1, 50)),
                lambda: frame(1, self._message(), mask=chosen.choice((None, bytes(4)))),
                lambda: frame(chosen.randrange(16), payload),
                lambda: frame(1, payload, reserved=chosen.randrange(8)),
                lambda: frame(chosen.choice((0, 1, 2, 8, 9)), payload, fin=False),
                lambda: frame(1, b"x" * 70_000),
                lambda: frame(1, payload, length=chosen.choice((2**16, 2**40, 2**63))),
                lambda: frame(8, chosen.randbytes(chosen.randint(0, 4))),
                lambda: frame(1, self._message())[: chosen.randint(1, 40)],
            )
        )()

    def _message(self) -> bytes:
        some: list[Any] = [*self._project_ids, "x", "", 1, -1, True, None, [], {}, 2**70]
        message = {
            "type": self._random.choice(_TYPES),
            "project_id": self._random.choice(some),
            "token": self._random.choice([token(self._user_id), *some]),
            "since": self._random.choice(some),
            "age": self._random.choice(some),
        }
        for name in self._random.sample(sorted(message), self._random.randint(0, 4)):
            del message[name]
        return json.dumps(message).encode()
