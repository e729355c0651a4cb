"""The promise holds in every order of events. See README.md.

``SIMULATE_SECONDS`` runs new schedules for that long instead of the fixed ones.
"""

import os
import sys
import time
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.simulation.client import LIST
from tests.simulation.database import PROJECT_OF, USERS, Change
from tests.simulation.world import BROWSERS, CLUSTER_FAULTS, FAULTS, GATEWAYS, LISTENERS, World

LISTENER = st.sampled_from([LISTENERS[0], *LISTENERS])
GATEWAY = st.sampled_from(GATEWAYS)
BROWSER = st.integers(0, len(BROWSERS) - 1)
WHICH = st.integers(0, 2)
PROJECT = st.sampled_from(["a", "a", "b"])
ROW_CHANGE = st.sampled_from(sorted(PROJECT_OF)).map(lambda row: ("row", PROJECT_OF[row], row))
ACCESS_CHANGE = st.tuples(
    st.sampled_from(["add", "remove", "remove", "owner"]), PROJECT, st.sampled_from(USERS)
)
WIDE_CHANGE = st.tuples(st.sampled_from(["bulk", "bulk", "truncate"]), PROJECT, st.just(""))
CHANGE = st.one_of(ROW_CHANGE, ROW_CHANGE, ACCESS_CHANGE, WIDE_CHANGE)
_SAVED: Final = frozenset({"older redis", "failover", "take over"})
KEYS: Final = ("state", "project:a", "project:a", "project:b", "user:u", "user:v")


class Simulation(RuleBasedStateMachine):
    """Redis is one server."""

    is_cluster = False
    kinds = FAULTS

    def __init__(self) -> None:
        super().__init__()
        self.world = World(is_cluster=self.is_cluster)
        self.faults: list[str] = []

    @initialize(
        faults=st.lists(st.sampled_from(FAULTS), max_size=3, unique=True),
        is_warm=st.sampled_from([True, True, True, False]),
    )
    def begin_warm(self, *, faults: list[str], is_warm: bool) -> None:
        self.faults = [self.kinds[FAULTS.index(fault)] for fault in faults]
        if is_warm:
            self.world.come_to_rest()

    # --- the database

    @rule(change=CHANGE)
    def write(self, change: Change) -> None:
        self.world.write(change)

    @precondition(lambda self: len(self.world.database.running) < 3)
    @rule(change=CHANGE)
    def begin(self, change: Change) -> None:
        self.world.database.begin(change)

    @precondition(lambda self: self.world.database.running)
    @rule(which=WHICH, commits=st.sampled_from([True, True, True, False]))
    def end(self, which: int, *, commits: bool) -> None:
        self.world.end(which, commits=commits)

    # --- normal operation

    @rule(name=LISTENER, steps=st.integers(1, 3))
    def listen(self, name: str, steps: int) -> None:
        self.world.listen(name, steps)

    @rule(name=LISTENER, what=st.sampled_from(["publish", "publish", "save", "read", "state"]))
    def listen_until(self, name: str, what: str) -> None:
        self.world.listen_until(name, what)

    @rule(name=GATEWAY, replies=st.integers(1, 3))
    def deliver(self, name: str, replies: int) -> None:
        if not self.world.deliver(name, replies):
            self.world.take(name)

    @rule(name=GATEWAY, which=WHICH)
    def answer(self, name: str, which: int) -> None:
        if not self.world.answer(name, which):
            self.world.take(name)

    @rule(name=GATEWAY)
    def work(self, name: str) -> None:
        self.world.work(name)

    @rule(browser=BROWSER)
    def read(self, browser: int) -> None:
        self.world.read(self.world.browsers[browser])

    @rule(browser=BROWSER, which=WHICH)
    def fetch(self, browser: int, which: int) -> None:
        if not self.world.browsers[browser].fetched(which):
            self.world.browsers[browser].fetch(which, self.world.now)

    @rule(browser=BROWSER)
    def browse(self, browser: int) -> None:
        self.world.browse(self.world.browsers[browser], None)

    @rule(browser=BROWSER, gateway=GATEWAY)
    def connect(self, browser: int, gateway: str) -> None:
        self.world.leave(self.world.browsers[browser])
        self.world.connect(self.world.browsers[browser], gateway)

    @rule(
        browser=BROWSER,
        what=st.sampled_from(["leave", "slow", "load", "persist", "reload", "focus", "retry"]),
        row=st.sampled_from([LIST, *PROJECT_OF]),
    )
    def use(self, browser: int, what: str, row: str) -> None:
        used = self.world.browsers[browser]
        match what:
            case "leave":
                self.world.leave(used)
            case "slow":
                used.be_slow()
            case "load":
                used.load(self.world.now)
            case "persist":
                used.saved = used.page.copy()
            case "reload":
                used.reload(self.world.now)
            case "focus":
                used.look_around(row, self.world.now)
            case _:
                used.retry(self.world.now)
        self.world.loop.settle()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.1, 6.0]))
    def wait(self, seconds: float) -> None:
        self.world.loop.advance(seconds)

    @rule(leads=st.booleans(), times=st.sampled_from([1, 1, 4, 20]))
    def lull(self, *, leads: bool, times: int) -> None:
        for _ in range(times):
            self.world.lull(leads=leads)

    @rule()
    def come_to_rest(self) -> None:
        self.world.come_to_rest()

    # --- faults: few kinds in one schedule, as each would hide the effects of others

    @precondition(lambda self: self.faults)
    @rule(
        which=WHICH,
        listener=LISTENER,
        gateway=GATEWAY,
        key=st.sampled_from(KEYS),
        loses=st.booleans(),
    )
    def fail(self, which: int, listener: str, gateway: str, key: str, *, loses: bool) -> None:
        kind = self.faults[which % len(self.faults)]
        self.world.fail(kind, listener=listener, gateway=gateway, key=key, loses=loses)

    @precondition(lambda self: not _SAVED.isdisjoint(self.faults))
    @rule()
    def save_redis(self) -> None:
        self.world.save_redis()

    @precondition(lambda self: "older database" in self.faults or "dump" in self.faults)
    @rule()
    def save_database(self) -> None:
        self.world.database.save()

    @precondition(lambda self: self.world.database.now.is_skipping)
    @rule()
    def log_again(self) -> None:
        self.world.database.log_again()

    @precondition(lambda self: "end session" in self.faults)
    @rule()
    def notice(self) -> None:
        self.world.notice()

    def teardown(self) -> None:
        try:
            self.world.come_to_rest()
        finally:
            self.world.close()


class ClusterSimulation(Simulation):
    """Redis is a cluster."""

    is_cluster = True
    kinds = CLUSTER_FAULTS


STEPS: Final = 60
EXAMPLES: Final = int(os.environ.get("SIMULATE_EXAMPLES", "400"))
SECONDS: Final = float(os.environ.get("SIMULATE_SECONDS", "0"))
PHASES: Final = (
    [Phase.generate]  # a mutant is caught by its first violation
    if "SIMULATE_UNTIL_FIRST" in os.environ
    else [Phase.generate, Phase.shrink]
)


def simulate(machine: type[Simulation], examples: int, *, repeats: bool) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=repeats,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=PHASES,
        ),
    )


@pytest.mark.skipif(SECONDS > 0, reason="new schedules instead")
def test_no_browser_stays_stale() -> None:
    simulate(Simulation, EXAMPLES, repeats=True)


@pytest.mark.skipif(SECONDS > 0, reason="new schedules instead")
def test_on_a_cluster_no_browser_stays_stale() -> None:
    simulate(ClusterSimulation, EXAMPLES // 10, repeats=True)


@pytest.mark.skipif(SECONDS == 0, reason="make simulate")
def test_no_browser_stays_stale_in_new_schedules() -> None:
    end, tried = time.monotonic() + SECONDS, 0
    while (left := end - time.monotonic()) > 0:
        simulate(Simulation, 100, repeats=False)
        simulate(ClusterSimulation, 100, repeats=False)
        tried += 200
        print(f"{tried} schedules of up to {STEPS} steps, {left:.0f} s left", file=sys.stderr)
