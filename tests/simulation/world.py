"""Everything together, each thing that can happen as one method, and what must hold."""

import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Final
from unittest import mock

from shared.runtime.backoff import Backoff
from tests.simulation.client import Browser
from tests.simulation.database import MAX_ROWS_PER_PRUNE, Change
from tests.simulation.gateway import Gateway
from tests.simulation.listener import Listener
from tests.simulation.redis_cluster import NAMES, SLOTS
from tests.simulation.redis_server import Server
from tests.simulation.servers import Servers, Violation

LISTENERS: Final = ("listener0", "listener1")
GATEWAYS: Final = ("gateway0", "gateway1")
BROWSERS: Final = (
    ("v1-u-ab", "u", ("a", "b"), True),
    ("v1-w-a", "w", ("a",), True),
    ("v1-v-ba", "v", ("b", "a"), True),
    ("plain-u-a", "u", ("a",), False),
)
FAULTS: Final = (
    "kill listener",
    "end session",
    "cut link",
    "kill gateway",
    "no database",
    "evict",
    "older redis",
    "failover",
    "empty redis",
    "restart redis",
    "clock back",
    "crash database",
    "restart database",
    "older database",
    "dump",
    "log full",
    "disable",
)
# the real bounds, so small that they are met
_BOUNDS: Final = {
    # never reached: nothing at all may be delivered while a check is running
    "gateway.access.access_cache.STARVING_SECONDS": math.inf,
    "gateway.access.checker.REST_SECONDS": 0.0,
    "gateway.access.revalidation_rules.STARVING_SECONDS": math.inf,
    "gateway.delivery.channel_logs.MAX_ROWS_PER_READ": 1,
    "gateway.delivery.channel_logs.MIN_ROWS_PER_READ": 1,
    "gateway.delivery.catch_up.MAX_BYTES_PER_BATCH": 1,
    "gateway.delivery.catch_up.MAX_CHANNELS_PER_BATCH": 2,
    "gateway.delivery.catch_up.MAX_FRAMES_PER_BATCH": 2,
    "listener.leader.publication.USER_MAX_ROWS": 2,
    "listener.leader.leader_state.MAX_ROWS_PER_READ": 6,
    "shared.protocol.slots.SLOT_COUNT": SLOTS,
    "listener.leader.pruner.PRUNE_SECONDS": 1.0,
    "listener.leader.pruner.MAX_ROWS_PER_PRUNE": MAX_ROWS_PER_PRUNE,
}
CLUSTER_FAULTS: Final = (
    "kill listener",
    "end session",
    "cut link",
    "cut node link",
    "kill gateway",
    "evict",
    "older redis",
    "failover",
    "empty redis",
    "restart redis",
    "clock back",
    "take over",
    "learn",
    "move slot",
    "silent node",
    "answer again",
    "log full",
)
_ROUNDS: Final = 60


@contextmanager
def small_and_predictable() -> Iterator[None]:
    """Bounds that are met, chance that repeats, silence."""
    numbers = (f"{number:x}" for number in count())
    chance = partial(Backoff, rng=random.Random(0))
    with ExitStack() as stack:
        for name, value in _BOUNDS.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(mock.patch("secrets.token_hex", side_effect=numbers))
        stack.enter_context(mock.patch("gateway.delivery.broker.Backoff", chance))
        stack.enter_context(mock.patch("listener.leader.leader.Backoff", chance))
        stack.enter_context(mock.patch("gateway.delivery.shard_links.Backoff", chance))
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        yield


def key_of(key: str) -> str:
    """The key in a cluster of a channel's log, or of the state."""
    return NAMES.state if key == "state" else f"{{{key}}}:log"


class World:
    def __init__(self, *, is_cluster: bool = False) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(small_and_predictable())
        self.servers = Servers(is_cluster=is_cluster)
        self.loop, self.calls = self.servers.loop, self.servers.calls
        self.database, self.redis = self.servers.database, self.servers.redis
        self.listeners = {name: Listener(self.servers, name) for name in LISTENERS}
        self.gateways = {name: Gateway(self.servers, name) for name in GATEWAYS}
        self.browsers = [
            Browser(name, user, wanted, self.database, self.servers.published, is_v1=is_v1)
            for name, user, wanted, is_v1 in BROWSERS
        ]

    def close(self) -> None:
        for part in self.parts:
            part.kill()
        self.loop.close()
        self._stack.close()

    @property
    def now(self) -> float:
        return self.loop.time()

    # --- the database

    def write(self, change: Change) -> None:
        self.database.begin(change)
        self.database.end(len(self.database.running) - 1, commits=True)

    def end(self, which: int, *, commits: bool) -> None:
        if self.database.running:
            self.database.end(which, commits=commits)

    # --- the processes

    def listen(self, name: str, steps: int = 1) -> None:
        """The listener goes on by so many steps; one that waits, until it has waited."""
        for _ in range(steps):
            if not self.calls.step(name):
                self.loop.advance(0.26)

    def take(self, name: str) -> bool:
        """Redis takes a command from a gateway's subscriber connection."""
        return any(link.take() for link in self.servers.links_of(name))

    def deliver(self, name: str, replies: int = 1) -> bool:
        return any(link.deliver(replies) for link in self.servers.links_of(name))

    def answer(self, name: str, which: int = 0) -> bool:
        return self.calls.step(name, which)

    def listen_until(self, name: str, what: str) -> None:
        """The listener goes on until it is about to do so, if it ever is."""
        for _ in range(20):
            calls = self.calls.of.get(name)
            if calls and calls[0].what.startswith(what) and not calls[0].is_done:
                break
            self.listen(name)

    def kill_listener(self, name: str) -> None:
        listener = self.listeners[name]
        listener.kill()
        if listener.is_leading:
            self.database.lock = None
        self.listeners[name] = Listener(self.servers, name)

    def end_session(self) -> None:
        """A standby ends the session of a leader that is frozen, which does not know yet."""
        self.database.lock = None

    def notice(self) -> None:
        for listener in self.listeners.values():
            listener.notice()

    def kill_gateway(self, name: str) -> None:
        gateway = self.gateways[name]
        gateway.kill()
        for browser in self.browsers:
            if browser.gateway is gateway:
                browser.hang_up()
        self.gateways[name] = Gateway(self.servers, name)

    def cut(self, name: str, *, loses: bool) -> None:
        for link in self.servers.links_of(name):
            link.cut(loses=loses)

    def cut_one(self, name: str, server: Server, *, loses: bool) -> None:
        """Cut a gateway's connections to one node."""
        for link in server.links_of(name):
            link.cut(loses=loses)

    def save_redis(self) -> None:
        """Save what a server that comes back older, or replaces another one, will have."""
        for server in self.servers.redis_servers:
            server.save()

    def answer_again(self) -> None:
        for server in self.servers.redis_servers:
            server.is_silent = False

    def postgres(self, act: Callable[[], None]) -> None:
        """The server goes away, and is back."""
        act()
        self.calls.cut("postgres", OSError("the server went away"))

    def fail(self, kind: str, *, listener: str, gateway: str, key: str, loses: bool) -> None:
        """One fault; what of the arguments does not matter to its kind is not looked at."""
        database, cluster = self.database, self.servers.cluster
        redis = self.servers.redis_of(key)
        actions: dict[str, Callable[[], None]] = {
            "kill listener": lambda: self.kill_listener(listener),
            "end session": self.end_session,
            "cut link": lambda: self.cut(gateway, loses=loses),
            "kill gateway": lambda: self.kill_gateway(gateway),
            "no database": database.hide,
            "evict": lambda: redis.evict(key),
            "older redis": lambda: redis.go_back(cuts=True, loses=loses),
            "failover": lambda: redis.go_back(cuts=False, loses=loses),
            "empty redis": lambda: redis.restart(empty=True, loses=loses),
            "restart redis": lambda: redis.restart(empty=False, loses=loses),
            "clock back": lambda: redis.set_back(3_000_000),
            "crash database": lambda: self.postgres(database.crash),
            "restart database": lambda: self.postgres(database.restart),
            "older database": lambda: self.postgres(lambda: database.go_back(keeps_xids=False)),
            "dump": lambda: self.postgres(lambda: database.go_back(keeps_xids=True)),
            "log full": lambda: database.skip(is_disabled=False),
            "disable": lambda: database.skip(is_disabled=True),
        }
        if cluster is not None:
            actions |= {
                "cut node link": lambda: self.cut_one(gateway, redis, loses=loses),
                "take over": lambda: cluster.take_over(key_of(key), knows=loses),
                "learn": cluster.learn,
                "move slot": lambda: cluster.move_slot(key_of(key)),
                "silent node": redis.be_silent,
                "answer again": self.answer_again,
            }
        actions[kind]()
        self.loop.settle()

    # --- the browsers

    def connect(self, browser: Browser, gateway: str) -> None:
        browser.connect(self.gateways[gateway], self.now)

    def leave(self, browser: Browser) -> None:
        browser.hang_up()
        self.loop.settle()

    def read(self, browser: Browser) -> bool:
        read = browser.take(self.now)
        self.loop.settle()
        return read

    # --- time

    def work(self, name: str) -> None:
        """A gateway's connections do all that there is to be done."""
        for _ in range(200):
            busy = self.take(name) or self.deliver(name, 3) or self.answer(name)
            if not busy:
                break
        else:
            raise Violation(f"{name} never comes to rest")

    def browse(self, browser: Browser, gateway: str | None) -> None:
        if gateway is not None:
            self.connect(browser, gateway)
            browser.retry(self.now)
            self.loop.settle()
        if browser.socket is not None:
            browser.socket.is_slow = False
        while self.read(browser) or browser.fetch(0, self.now) or browser.fetched(0):
            pass

    def lull(self, *, leads: bool = True, connects: bool = False) -> None:
        """A third of a second in which nothing fails."""
        if leads:
            for name in LISTENERS:
                for _ in range(12 if self.servers.cluster is None else 36):
                    if not self.calls.step(name):
                        break
        for name in GATEWAYS:
            self.work(name)
        for number, browser in enumerate(self.browsers):
            self.browse(browser, GATEWAYS[number % 2] if connects else None)
        self.loop.advance(0.3)
        self.check_running()

    @property
    def parts(self) -> list[Listener | Gateway]:
        return [*self.listeners.values(), *self.gateways.values()]

    def check_running(self) -> None:
        for part in self.parts:
            if part.task.done():
                raise Violation(f"{part.name} has died") from part.task.exception()

    def come_to_rest(self) -> None:
        """Nothing fails any more: everybody comes back, and is not stale."""
        self.database.is_down_for_gateways = False
        self.answer_again()
        if self.servers.cluster is not None:
            self.servers.cluster.learn()
        while self.database.running:
            self.database.end(0, commits=True)
        self.notice()
        complaint: str | None = ""
        for _ in range(_ROUNDS):
            self.lull(connects=True)
            self.database.log_again()
            complaint = self.complaint()
            if complaint is None:
                return
        raise Violation(complaint)

    def complaint(self) -> str | None:
        for gateway in self.gateways.values():
            for project, user in gateway.subscribed:
                if not self.database.may_see(project, user):
                    return f"leak: {user} is subscribed to {project} at {gateway.name}"
        return next((c for b in self.browsers if (c := b.complaint())), None)
