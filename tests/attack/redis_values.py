"""Attacks by foreign values under our Redis keys."""

import asyncio

import redis.asyncio

from shared.protocol.channels import Channel, RedisNames
from tests.attack.peer import Peer
from tests.attack.registry import REDIS, Bounds, attack


async def _spoil(peer: Peer, project: str) -> None:
    """Repeatedly replace the project's log by a value of the wrong type."""
    key = RedisNames(peer.target.prefix).log(Channel("project", project))
    async with redis.asyncio.Redis.from_url(peer.target.redis_url) as client:
        writing = asyncio.create_task(
            peer.query_for_ever(
                "postgres",
                f"select neverstale.notify('task', 'UPDATE', '{project}', '1')",
                pause_seconds=0.1,
            )
        )
        try:
            while not writing.done():
                await client.set(key, "x")
                peer.counts["values"] += 1
                await asyncio.sleep(0.5)
            await writing
        finally:
            writing.cancel()


@attack(REDIS)
async def wrong_type(peer: Peer) -> None:
    """A value of the wrong type under the key of another project's log, while that project
    changes. The victim still receives its events.
    """
    await _spoil(peer, peer.target.projects[0])


@attack(REDIS, bounds=Bounds(ratio=None, resets=None))
async def wrong_type_of_victim(peer: Peer) -> None:
    """The same for the victim's own log. The victim gets events or resets, and logins work."""
    await _spoil(peer, peer.target.victim_project)
