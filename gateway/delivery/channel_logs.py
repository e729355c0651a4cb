"""Reads channel logs in Redis: one page of each log of a catch-up batch."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.delivery.cluster_channels import ClusterChannels
from gateway.delivery.effects import LogPage, ReadLogs
from gateway.delivery.shard_links import ShardLinks
from shared.links.redis_access import RedisAccess
from shared.links.redis_cluster import MOVED_ERRORS, ClusterNodes
from shared.links.redis_link import Client, Pipeline, RedisLost, Script, translated_errors
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.events import replayed_frame
from shared.protocol.replay import Cursor, LogHead, Since
from shared.protocol.slots import Node

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
        rows = rows_per_log(read)
        async with (
            translated_errors(self._client),
            self._client.pipeline(transaction=False) as pipeline,
        ):
            for channel, since in read.wanted.items():
                self._queue(pipeline, self._replay, channel, since, read.generation, rows)
            found = await pipeline.execute()
        return await _parse_pages(zip(read.wanted, found, strict=True))

    def _queue(
        self,
        pipeline: Pipeline,
        replay: Script,
        channel: Channel,
        since: Since,
        generation: str,
        rows: int,
    ) -> None:
        replay.queue(
            pipeline,
            self._names.log(channel),
            generation,
            secrets.token_hex(4),
            self._ttl_seconds,
            since.epoch if isinstance(since, Cursor) else "",
            "" if since is None else since.offset,
            rows,
        )


class ShardLogs(ChannelLogs):
    """The channel logs of a cluster, each on the node that serves its channel.

    A node that fails, and a channel that another node serves by now, are reported to *links*
    instead of raising: the batch has no page of their channels, which are lost.
    """

    def __init__(
        self,
        redis: RedisAccess,
        nodes: ClusterNodes,
        channels: ClusterChannels,
        links: ShardLinks,
        *,
        ttl_seconds: int,
    ) -> None:
        super().__init__(redis.client, redis.names, ttl_seconds=ttl_seconds)
        self._nodes = nodes
        self._channels = channels
        self._links = links
        self._scripts: dict[Node, Script] = {}

    async def prepare(self) -> None:
        """Load the script into each node again, once it is needed there."""
        self._scripts.clear()

    async def read(self, read: ReadLogs) -> Mapping[Channel, LogPage]:
        """Read the batch's logs, in one round trip to each node."""
        by_node: dict[Node, list[Channel]] = {}
        for channel in read.wanted:
            serving = self._channels.serving(channel)
            if serving is not None:
                by_node.setdefault(serving.node, []).append(channel)
        async with asyncio.TaskGroup() as tasks:
            reads = [
                tasks.create_task(self._read_node(node, channels, read))
                for node, channels in by_node.items()
            ]
        return {channel: page for one in reads for channel, page in one.result().items()}

    async def _read_node(
        self, node: Node, channels: Sequence[Channel], read: ReadLogs
    ) -> Mapping[Channel, LogPage]:
        client = self._nodes.client(node.host, node.port)
        try:
            async with translated_errors(client):
                found = await self._ask_node(client, node, channels, read)
        except RedisLost:
            self._scripts.pop(node, None)
            self._links.abort_node(node)
            return {}
        replies = {}
        for channel, reply in zip(channels, found, strict=True):
            if isinstance(reply, Exception):
                self._links.lose_channel(channel)
            else:
                replies[channel] = reply
        return await _parse_pages(replies.items())

    async def _ask_node(
        self, client: Client, node: Node, channels: Sequence[Channel], read: ReadLogs
    ) -> Sequence[Any]:
        """Return each channel's reply: an exception if another node serves it now."""
        if node not in self._scripts:
            self._scripts[node] = await Script.load(client, _REPLAY_LUA)
        rows = rows_per_log(read)
        async with client.pipeline(transaction=False) as pipeline:
            for channel in channels:
                generation = self._channels.generation_of(read.generation, channel)
                since = read.wanted[channel]
                self._queue(pipeline, self._scripts[node], channel, since, generation, rows)
            found: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in found:
            if isinstance(reply, Exception) and not isinstance(reply, MOVED_ERRORS):
                raise reply
        return found


def rows_per_log(read: ReadLogs) -> int:
    """Return how many rows of each log a batch reads."""
    rows = ROWS_PER_BATCH // len(read.wanted)
    return max(MIN_ROWS_PER_READ, min(MAX_ROWS_PER_READ, rows))


async def _parse_pages(
    replies: Iterable[tuple[Channel, Sequence[Any]]],
) -> Mapping[Channel, LogPage]:
    pages = {}
    for channel, reply in replies:
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
