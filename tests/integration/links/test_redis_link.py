"""What we rely on of redis-py, and the scripts, on a real server."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final, cast

import pytest

from listener.leader.leader_state import LeaderState, SnapshotCursor
from listener.leader.publication import Publication, PublicationRules
from listener.leader.publisher import Publisher
from shared.config.access_rules import AccessRules
from shared.links.redis_access import RedisAccess
from shared.links.redis_link import Client, RedisLost, Script, connect, translated_errors
from shared.links.redis_url import parse_redis_url
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.events import Event, publishable_event, publishable_reconnect
from shared.protocol.replay import Cursor, LogHead
from tests.support.processes import ROOT
from tests.support.published_frames import cursor_of
from tests.support.servers import Servers

_REPLAY: Final = ROOT / "gateway/delivery/lua/replay.lua"


async def test_a_cancelled_command_stays_cancelled(servers: Servers) -> None:
    """A service that swallows its cancellation never ends on SIGTERM."""
    client = connect(parse_redis_url(servers.valkey.url))

    async def ask_for_ever() -> None:
        while True:
            async with translated_errors(client):
                await client.get("nothing")

    for _ in range(400):
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask_for_ever())
            await asyncio.sleep(0.001)
            asking.cancel()
            done, _ = await asyncio.wait([asking], timeout=5)
            assert done, "the cancellation was lost"
    await client.aclose()


CHANNEL = Channel("project", "1")
CURSOR = SnapshotCursor("identity", "1:1:")


def leader_state(generation: str = "g1") -> LeaderState:
    return LeaderState(generation, CURSOR, "redis", "gap")


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[Client]:
    made = connect(parse_redis_url(servers.valkey.url))
    yield made
    await made.aclose()


class Log:
    """One channel's log as the scripts leave it, in a namespace of its own."""

    def __init__(self, client: Client, *, max_rows: int = 3) -> None:
        self.client = client
        self.names = RedisNames(f"{secrets.token_hex(4)}:")
        target = parse_redis_url("redis://localhost")  # not used: the client is connected
        self.publisher = Publisher(
            RedisAccess(self.names, target, client),
            PublicationRules(AccessRules("text", "text", "", ""), frozenset(), max_rows),
            leader="test",
            ttl_seconds=100,
        )

    async def publish(self, *ids: str, generation: str = "g1") -> None:
        events = [
            publishable_event(Event("task", id_, "UPDATE", "1", datetime.now(UTC)), CHANNEL)
            for id_ in ids
        ]
        await self.publisher.publish(
            Publication({}, [], {CHANNEL: events}), leader_state(generation)
        )

    async def rows(self) -> dict[str, int]:
        """The newest offset of each row, lowest first.

        The first is the epoch with the floor.
        """
        scored = await self.client.zrange(self.names.log(CHANNEL), 0, -1, withscores=True)
        rows = {}
        for member, score in cast(list[tuple[bytes, float]], scored):
            name = json.loads(member)[1] if member.startswith(b"[") else member.decode()
            rows[name] = int(score)
        return rows

    async def replay(
        self,
        since: tuple[str, int] | None = None,
        *,
        generation: str = "g1",
        page: int = 10,
    ) -> tuple[LogHead, bool, list[str]]:
        """The log's head, whether there is more, and the rows above *since*."""
        script = await Script.load(self.client, _REPLAY.read_text())
        epoch, floor, last, more, *rows = await script.run(
            self.client,
            self.names.log(CHANNEL),
            generation,
            secrets.token_hex(4),
            100,
            *(since or ("", "")),
            page,
        )
        names = [json.loads(member)[1] for member in rows[::2]]
        return LogHead(epoch.decode(), int(floor), int(last)), bool(more), names


@pytest.fixture
async def log(client: Client) -> Log:
    made = Log(client)
    await made.publisher.adopt()
    return made


async def test_a_log_keeps_the_newest_change_of_each_row_at_growing_offsets(log: Log) -> None:
    await log.publish("a", "b")
    first = await log.rows()
    await log.publish("a")
    rows = await log.rows()
    epoch, *names = rows
    assert epoch.startswith("!g1.")
    assert names == ["b", "a"]
    assert list(rows.values()) == sorted(set(rows.values()))
    assert rows[epoch] == first[epoch]
    assert 0 < await log.client.ttl(log.names.log(CHANNEL)) <= 100


async def test_rows_over_the_bound_go_and_the_floor_rises_to_the_newest_of_them(
    log: Log,
) -> None:
    await log.publish("a", "b", "c")
    before = await log.rows()
    await log.publish("d", "e")
    after = await log.rows()
    epoch, *rows = after
    assert rows == ["c", "d", "e"]
    assert after[epoch] == before["b"]


async def test_a_reconnect_clears_what_is_below_it(log: Log) -> None:
    await log.publish("a", "b")
    await log.publisher.publish(
        Publication({}, [], {CHANNEL: [publishable_reconnect("bulk_change", CHANNEL)]}),
        leader_state(),
    )
    await log.publish("c")
    assert list(await log.rows())[1:] == ["*", "c"]


async def test_a_log_of_another_generation_is_made_anew(log: Log) -> None:
    await log.publish("a")
    await log.publish("b", generation="g2")
    (epoch, _), *rest = (await log.rows()).items()
    assert epoch.startswith("!g2.")
    assert [row for row, _ in rest] == ["b"]


async def test_opening_makes_a_quiet_log_and_leaves_another_as_it_is(log: Log) -> None:
    head, _, _ = await log.replay()
    assert head.epoch.startswith("g1.")
    assert head.floor == head.last
    assert await log.replay() == (head, False, [])
    await log.publish("a")
    assert (await log.replay())[0] == LogHead(head.epoch, head.floor, (await log.rows())["a"])
    assert (await log.replay(generation="g2"))[0].epoch.startswith("g2.")
    assert list(await log.rows())[1:] == []


async def test_a_replay_has_the_rows_above_a_place_a_page_at_a_time(log: Log) -> None:
    head, _, _ = await log.replay()
    await log.publish("a")
    await log.publish("b", "c")
    rows = await log.rows()
    begin = (head.epoch, head.floor)
    assert (await log.replay(begin))[1:] == (False, ["a", "b", "c"])
    assert (await log.replay(begin, page=2))[1:] == (True, ["a", "b"])
    assert (await log.replay((head.epoch, rows["b"]), page=1))[1:] == (False, ["c"])
    assert (await log.replay(("", rows["a"])))[1:] == (False, ["b", "c"])
    assert (await log.replay((head.epoch, rows["c"])))[1:] == (False, [])


async def test_a_replay_that_would_be_incomplete_has_no_rows(log: Log) -> None:
    head, _, _ = await log.replay()
    await log.publish("a")
    for since in ((head.epoch, head.floor - 1), ("g1.other", head.floor), ("", 1)):
        assert (await log.replay(since))[1:] == (False, [])


async def test_a_published_frame_carries_the_cursor_of_its_row(
    log: Log, client: Client
) -> None:
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(log.names.channel(CHANNEL))
    await pubsub.get_message(timeout=5)
    await log.publish("a", "b")
    rows = await log.rows()
    epoch = next(iter(rows)).removeprefix("!")
    for row in ("a", "b"):
        message = await pubsub.get_message(timeout=5)
        assert message is not None
        assert cursor_of(message["data"]) == Cursor(CHANNEL, epoch, rows[row])
    await pubsub.aclose()  # type: ignore[no-untyped-call]


async def test_a_cursor_is_saved_only_under_the_stored_generation(log: Log) -> None:
    mine = leader_state()
    assert await log.publisher.save(mine, tick_lag_ms=None) is None, "nothing is stored yet"
    await log.publisher.reset(mine)
    assert await log.publisher.save(mine, tick_lag_ms=5) == "g1"
    other = LeaderState("g2", SnapshotCursor("identity", "2:2:"), "redis", "truncate")
    await log.publisher.reset(other)
    assert await log.publisher.save(mine, tick_lag_ms=None) == "g2"
    state, _ = await log.publisher.adopt()
    assert state == {
        "generation": "g2",
        "cursor": other.cursor.to_json(),
        "redis": "redis",
        "live": "1",
        "reason": "truncate",
        "database": "identity",
        "capture": "",
    }


async def test_a_forgotten_script_is_a_lost_link_that_adopting_mends(log: Log) -> None:
    await log.client.script_flush()
    with pytest.raises(RedisLost, match="NoScript"):
        await log.publish("a")
    await log.publisher.adopt()
    await log.publish("a")
