"""The scripts on a real server, and the simulation's model of them: same calls, same outcome.

Redis's time can't be set, so offsets are compared as places in one order: each of the real ones
stands for one of the model's, for good.
"""

import secrets
from bisect import insort
from collections.abc import Iterator
from itertools import count
from typing import Any, cast

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.redis_model import SCRIPTS, Store
from tests.support.servers import Servers

KEYS = ("{one}:log", "{two}:log")
GENERATION = st.sampled_from(["g1", "g1", "g1", "g2"])
MEMBERS = st.lists(st.sampled_from(["a", "b", "c", "d", "*"]), min_size=1, max_size=5)
KEY = st.sampled_from(KEYS)
PUBLISH = st.tuples(st.just("publish"), KEY, GENERATION, MEMBERS, st.integers(1, 3))
SINCE = st.tuples(
    st.sampled_from(["cursor", "cursor", "age", "none"]), st.integers(0, 30), st.integers(-1, 1)
)
REPLAY = st.tuples(st.just("replay"), KEY, GENERATION, SINCE, st.integers(1, 3))
SAVE = st.tuples(
    st.just("save"),
    st.sampled_from(["", "g1", "g2"]),
    st.sampled_from(["g1", "g2"]),
    st.booleans(),
    st.integers(0, 9),
)
FAULT = st.tuples(st.sampled_from(["evict", "ahead", "ahead", "far"]), KEY)
CALLS = st.lists(st.one_of(PUBLISH, PUBLISH, PUBLISH, REPLAY, REPLAY, REPLAY, SAVE, FAULT))


class Both:
    """The server and the model, called alike."""

    def __init__(self, client: "redis.Redis", heard: Any) -> None:
        self.client = client
        self.prefix = f"{secrets.token_hex(4)}:"
        self.shas = {name: client.script_load(source) for source, name in SCRIPTS.items()}
        self.clock = 10**9
        self.told: list[tuple[bytes, bytes]] = []
        self.store = Store(lambda: self.clock, lambda *m: self.told.append(m[:2]))
        self.randoms = count()
        self.known = {0: 0}  # the model's offset for the server's
        self.order = [(0, 0)]
        self.places: list[tuple[str, bytes, int]] = []
        self.heard = heard

    def run(self, script: str, key: str, real: list[Any], model: list[Any]) -> tuple[Any, Any]:
        self.clock += 1000
        answer = self.client.evalsha(self.shas[script], 1, self.prefix + key, *real)
        return answer, self.store.run(script, key, model)

    def match(self, real: int, model: int) -> None:
        if real not in self.known:
            self.known[real] = model
            insort(self.order, (real, model))
            models = [offset for _, offset in self.order]
            assert models == sorted(models), "another order"
        assert self.known[real] == model

    def compare_log(self, key: str) -> None:
        found = cast(Any, self.client.zrange(self.prefix + key, 0, -1, withscores=True))
        log = self.store.logs.get(key)
        expected = [(b"!" + log.epoch, log.floor), *log.above(log.floor)] if log else []
        assert [member for member, _ in found] == [member for member, _ in expected]
        for (_, real), (_, model) in zip(found, expected, strict=True):
            self.match(int(real), model)

    def compare_messages(self) -> None:
        for channel, payload in self.told:
            message = self.heard.get_message(timeout=5)
            assert message is not None
            assert message["channel"] == self.prefix.encode() + channel
            before, _, offset = message["data"].rstrip(b'"}').rpartition(b".")
            expected, _, model = payload.rstrip(b'"}').rpartition(b".")
            assert before == expected
            self.match(int(offset), int(model))
        self.told.clear()

    def publish(self, key: str, generation: str, members: list[str], most: int) -> None:
        parts = [part for m in members for part in (m, f'{{"{m}","', '"}')]
        words = [generation, str(next(self.randoms)), most, 60, "PUBLISH", *parts]
        real, model = self.run("publish", key, [self.prefix + key, *words], [key, *words])
        self.compare_place(key, real, model)
        assert 0 < self.client.ttl(self.prefix + key) <= 60

    def compare_place(self, key: str, real: list[bytes], model: list[bytes]) -> None:
        assert real[0] == model[0]
        self.match(int(real[1]), int(model[1]))
        self.places.append((key, real[0], int(real[1])))

    def replay(self, key: str, generation: str, since: tuple[str, int, int], page: int) -> None:
        kind, which, beside = since
        epoch, real_since, model_since = b"", b"", b""
        if kind != "none" and self.places:
            _, epoch, offset = self.places[which % len(self.places)]
            real_since = b"%d" % (offset + beside)
            model_since = b"%d" % (self.known[offset] + beside)
            epoch = epoch if kind == "cursor" else b""
        words = [generation, str(next(self.randoms)), 60, epoch]
        real, model = self.run(
            "replay", key, [*words, real_since, page], [*words, model_since, page]
        )
        assert (real[0], real[3], real[4::2]) == (model[0], model[3], model[4::2])
        for mine, its in zip(
            [*real[1:3], *real[5::2]], [*model[1:3], *model[5::2]], strict=True
        ):
            self.match(int(mine), int(its))
        self.places.append((key, real[0], int(real[1])))

    def save(self, stored: str, generation: str, ticks: bool, cursor: int) -> None:
        pairs = ["cursor", str(cursor), *([] if stored else ["generation", generation])]
        around = ["{tick.", "}"] if ticks else ["", ""]
        real, model = self.run(
            "save",
            "state",
            [stored, self.prefix + "tick", *around, *pairs],
            [stored, "tick", *around, *pairs],
        )
        assert real == model
        assert self.client.hgetall(self.prefix + "state") == self.store.state

    def fault(self, kind: str, key: str) -> None:
        log = self.store.logs.get(key)
        if kind == "evict":
            self.client.delete(self.prefix + key)
            self.store.logs.pop(key, None)
        elif log is not None:
            # as if Redis's clock had been set back since; or so far that no double can say it
            ahead = 10**9 if kind == "ahead" else 10**16
            top = cast(Any, self.client.zrange(self.prefix + key, -1, -1, withscores=True))
            if top[0][1] < 9e15:
                self.client.zadd(self.prefix + key, {"later": int(top[0][1]) + ahead})
                log.rows[b"later"] = log.last + ahead


@pytest.fixture(scope="module")
def client(servers: Servers) -> "Iterator[redis.Redis]":
    made = redis.Redis.from_url(servers.valkey.url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def heard(client: "redis.Redis") -> Iterator[Any]:
    """Everything that is published."""
    made = client.pubsub()  # type: ignore[no-untyped-call]
    made.psubscribe("*")
    assert made.get_message(timeout=5)["type"] == "psubscribe"
    yield made
    made.close()


@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(calls=CALLS)
def test_the_scripts_do_what_the_model_does(
    client: "redis.Redis", heard: Any, calls: list[Any]
) -> None:
    both = Both(client, heard)
    for name, *arguments in calls:
        if name in ("evict", "ahead", "far"):
            both.fault(name, *arguments)
        else:
            getattr(both, name)(*arguments)
        for key in KEYS:
            both.compare_log(key)
        both.compare_messages()
    assert heard.get_message() is None, "told of what the model does not tell"
