"""Attacks by database roles that may connect, or have usage on our schema."""

import asyncio
import signal
from functools import partial
from typing import Final

from tests.attack.peer import Peer
from tests.attack.registry import CONNECT, MANY_EVENTS, USAGE, Bounds, attack
from tests.attack.scene import Scene
from tests.support.database import Database

_CONNECT: Final = "attack_connect"
_USAGE: Final = "attack_usage"
_MALFORMED: Final = (
    "do $$ begin for n in 1..5000 loop"
    " perform pg_notify('cache_invalidate', '{\"malformed\": ' || n); end loop; end $$"
)
_LOCK_CLASS: Final = 1853187955  # of neverstale.wake()
_EMPTY: Final = "notify cache_invalidate"
_WELL_FORMED: Final = (
    "do $$ begin for n in 1..500 loop perform pg_notify('cache_invalidate',"
    " json_build_object('resource', 'task', 'action', 'UPDATE', 'id', n::text,"
    " 'project_id', gen_random_uuid())::text); end loop; end $$"
)


@attack(USAGE)
async def huge_notify(peer: Peer) -> None:
    """neverstale.notify() with values of 200 MB. They are refused or reset the narrowest scope,
    and events still flow.
    """
    project = peer.target.projects[0]
    huge = "repeat('x', 200000000)"
    await peer.query_for_ever(
        _USAGE,
        f"select neverstale.notify({huge}, 'UPDATE', '{project}', '1')",
        f"select neverstale.notify('task', 'UPDATE', '{project}', {huge})",
        f"select neverstale.notify('task', 'UPDATE', {huge}, '1')",
        f"select neverstale.notify('task', 'UPDATE', '{project}', '1', {huge})",
        pause_seconds=0.5,
    )


@attack(USAGE, bounds=MANY_EVENTS)
async def many_projects(peer: Peer) -> None:
    """neverstale.notify() for 3,000 projects in one transaction, every second."""
    await peer.query_for_ever(
        _USAGE,
        "select neverstale.notify('task', 'UPDATE', gen_random_uuid()::text, n::text)"
        " from generate_series(1, 3000) as n",
        pause_seconds=1.0,
    )


@attack(USAGE, bounds=MANY_EVENTS)
async def many_users(peer: Peer) -> None:
    """neverstale.notify() with another user in each row, and ids and users of any form."""
    await peer.query_for_ever(
        _USAGE,
        "select neverstale.notify('task', 'UPDATE', gen_random_uuid()::text, n::text,"
        " case n % 3 when 0 then gen_random_uuid()::text else E'\\x01{}:*' || n end)"
        " from generate_series(1, 1000) as n",
        pause_seconds=1.0,
    )


@attack(CONNECT, bounds=MANY_EVENTS)
async def malformed_notify(peer: Peer) -> None:
    """Thousands of malformed NOTIFYs in one statement. No resets, few log lines."""
    await peer.query_for_ever(_CONNECT, _MALFORMED, pause_seconds=0.1)


@attack(CONNECT)
async def empty_notify(peer: Peer) -> None:
    """Empty NOTIFYs, which are wake-ups, from ten sessions without pause."""
    await peer.query_for_ever(_CONNECT, _EMPTY, sessions=10)


@attack(CONNECT, bounds=MANY_EVENTS)
async def well_formed_notify(peer: Peer) -> None:
    """500 valid NOTIFYs a second for projects that do not exist. They only cause events."""
    await peer.query_for_ever(_CONNECT, _WELL_FORMED, pause_seconds=1.0)


async def _kill_leader(scene: Scene) -> None:
    """Kill the leader and wait until the standby leads."""
    leader, standby = scene.listeners
    await leader.end(signal.SIGKILL)
    await standby.ready(scene.world.http, role="leader")


@attack(
    CONNECT, bounds=Bounds(ratio=None, p99_ms=3000, resets=1), standby=True, during=_kill_leader
)
async def held_locks(peer: Peer) -> None:
    """Sessions that take or wait for all our advisory locks while the leader is killed. A
    standby leads within seconds, and writes and events still flow.
    """

    await _hold(peer, 1, 2, 3)


@attack(CONNECT)
async def held_wake_lock(peer: Peer) -> None:
    """A session that always holds the wake-up's advisory lock. Latency does not change."""
    await _hold(peer, 2)


async def _hold(peer: Peer, *keys: int) -> None:
    async def hold(connection: Database, key: int) -> None:
        await connection.execute(f"select pg_advisory_lock({_LOCK_CLASS}, {key})")
        peer.counts[f"lock {key}"] += 1
        while not connection.is_closed():
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        for key in keys:
            tasks.create_task(peer.session(_CONNECT, partial(hold, key=key)))
