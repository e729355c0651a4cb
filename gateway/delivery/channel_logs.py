"""Reads channel logs in Redis: what was missed, a page of many at once."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.delivery.effects import LogPage, ReadLogs
from shared.links.redis_link import Client, Script, telling_loss
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.events import replayed_frame
from shared.protocol.replay import Cursor, LogHead

MAX_ROWS_PER_READ: Final = 250  # of one log
MIN_ROWS_PER_READ: Final = 10
ROWS_PER_BATCH: Final = 1000  # of all logs, as far as each may have ``MIN_ROWS_PER_READ``
_REPLAY_LUA: Final = (Path(__file__).parent / "lua" / "replay.lua").read_text()


class ChannelLogs:
    """Every method raises ``RedisLost``."""

    def __init__(self, client: Client, names: RedisNames, *, ttl_seconds: int) -> None:
        self._client = client
        self._names = names
        self._ttl_seconds = ttl_seconds
        self._replay = Script("")

    async def prepare(self) -> None:
        """Load the script: a Redis that was restarted does not know it."""
        async with telling_loss(self._client):
            self._replay = await Script.load(self._client, _REPLAY_LUA)

    async def read(self, read: ReadLogs) -> Mapping[Channel, LogPage]:
        """Read the round's logs in one round trip; those that are missing are made.

        Whatever is waited for, others wait no longer than for some rows of it.
        """
        rows = ROWS_PER_BATCH // len(read.wanted)
        rows = max(MIN_ROWS_PER_READ, min(MAX_ROWS_PER_READ, rows))
        async with (
            telling_loss(self._client),
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
        answers = {}
        for channel, parts in zip(read.wanted, found, strict=True):
            answers[channel] = _answer(channel, parts)
            if answers[channel].frames:
                await asyncio.sleep(0)
        return answers


def _answer(channel: Channel, parts: Sequence[Any]) -> LogPage:
    """What ``replay.lua`` returned."""
    epoch, floor, last, more, *rows = parts
    head = LogHead(epoch.decode(), int(floor), int(last))
    frames = []
    for member, offset in zip(rows[::2], rows[1::2], strict=True):
        place = Cursor(channel, head.epoch, int(offset))
        frames.append((place, replayed_frame(member, place)))
    return LogPage(head, frames, more=bool(more))
