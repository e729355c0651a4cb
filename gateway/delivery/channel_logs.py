"""Reads channel logs in Redis: one page of each log of a catch-up batch."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.delivery.effects import LogPage, ReadLogs
from shared.links.redis_link import Client, Script, translated_errors
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.events import replayed_frame
from shared.protocol.replay import Cursor, LogHead

MAX_ROWS_PER_READ: Final = 250  # of one log
MIN_ROWS_PER_READ: Final = 10
ROWS_PER_BATCH: Final = 1000  # of all logs, but at least ``MIN_ROWS_PER_READ`` of each
_REPLAY_LUA: Final = (Path(__file__).parent / "lua" / "replay.lua").read_text()


class ChannelLogs:
    """All channel logs. Every method raises ``RedisLost``."""

    def __init__(self, client: Client, names: RedisNames, *, ttl_seconds: int) -> None:
        self._client = client
        self._names = names
        self._ttl_seconds = ttl_seconds
        self._replay = Script("")

    async def prepare(self) -> None:
        """Load the script, which a restarted Redis does not have."""
        async with translated_errors(self._client):
            self._replay = await Script.load(self._client, _REPLAY_LUA)

    async def read(self, read: ReadLogs) -> Mapping[Channel, LogPage]:
        """Read the batch's logs in one round trip; a missing log is created, empty.

        The number of rows is bounded, and the event loop runs between two logs, so that other
        connections do not wait for a large batch.
        """
        rows = ROWS_PER_BATCH // len(read.wanted)
        rows = max(MIN_ROWS_PER_READ, min(MAX_ROWS_PER_READ, rows))
        async with (
            translated_errors(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for channel, since in read.wanted.items():
                self._replay.queue(
                    pipeline,
                    self._names.log(channel),
                    read.generation,
                    secrets.token_hex(4),
                    self._ttl_seconds,
                    since.epoch if isinstance(since, Cursor) else "",
                    "" if since is None else since.offset,
                    rows,
                )
            found = await pipeline.execute()
        pages = {}
        for channel, reply in zip(read.wanted, found, strict=True):
            pages[channel] = _parse_page(channel, reply)
            if pages[channel].frames:
                await asyncio.sleep(0)
        return pages


def _parse_page(channel: Channel, reply: Sequence[Any]) -> LogPage:
    """Parse what ``replay.lua`` returned."""
    epoch, floor, last, more, *rows = reply
    head = LogHead(epoch.decode(), int(floor), int(last))
    frames = []
    for member, offset in zip(rows[::2], rows[1::2], strict=True):
        cursor = Cursor(channel, head.epoch, int(offset))
        frames.append((cursor, replayed_frame(member, cursor)))
    return LogPage(head, frames, more=bool(more))
