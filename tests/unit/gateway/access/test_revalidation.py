"""When access is checked again: at once after a change, and after a renewed token."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.access import revalidation as module
from gateway.access import revalidation_rules as rules
from gateway.access.checker import AccessUnavailable
from gateway.access.pairs import Pair
from gateway.access.revalidation import Revalidator
from shared.protocol.control_messages import Recheck

PAIRS = [(f"p{number}", "u") for number in range(250)]


class Access:
    """Answers yes but for what is lost, once it may."""

    def __init__(self) -> None:
        self.asked: Counter[Pair] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.lost: set[Pair] = set()
        self.failures = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_ended = False

    def invalidate(self, _: Recheck) -> None:
        pass

    async def check(self, pair: Pair) -> bool:
        self.asked[pair] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.may_answer.wait()
        self.under_way -= 1
        if self.failures:
            self.failures -= 1
            raise AccessUnavailable("away")
        return pair not in self.lost


class Subscribed:
    """Notes what is done to which pair."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Pair]] = []

    def pairs(self, recheck: Recheck) -> list[Pair]:
        return [pair for pair in PAIRS if recheck.project_id in (None, pair[0])]

    def __getattr__(self, name: str) -> Any:
        return lambda pair: self.done.append((name, pair))


def revalidator(tasks: asyncio.TaskGroup) -> tuple[Revalidator, Access, Subscribed]:
    access, subscribed = Access(), Subscribed()
    given_access: Any = access
    given_subscribed: Any = subscribed
    made = Revalidator(given_access, given_subscribed, CollectorRegistry(), tasks)
    return made, access, subscribed


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USER_REST_SECONDS", 0.01)
    monkeypatch.setattr(rules, "RETRY_SECONDS", 0.01)


async def test_however_often_tokens_are_renewed_one_pass_runs_and_one_follows() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.may_answer.clear()
        for _ in range(1000):
            made.revalidate_user("u")
            await asyncio.sleep(0)
        access.may_answer.set()
    assert access.asked == Counter(dict.fromkeys(PAIRS, 2))
    assert access.most_under_way < len(PAIRS), "not all at once"
    assert subscribed.done == [], "nothing was suspended"


async def test_after_a_rest_tokens_are_renewed_as_before() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.lost = {PAIRS[7]}
        for _ in range(2):
            made.revalidate_user("u")
            async with asyncio.timeout(10):
                while made._passes._running:
                    await asyncio.sleep(0.001)
    assert access.asked == Counter(dict.fromkeys(PAIRS, 2))
    assert subscribed.done == [("revoke", PAIRS[7])] * 2


async def test_a_change_suspends_at_once_what_it_concerns() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.may_answer.clear()
        made.revalidate_user("u")
        made.recheck(Recheck("p3", "u"))
        assert subscribed.done == [("suspend", PAIRS[3])]
        made.recheck(Recheck("p3", None))
        await asyncio.sleep(0)
        access.lost = {PAIRS[3]}
        access.may_answer.set()
    assert subscribed.done[-1] == ("revoke", PAIRS[3])
    assert access.asked[PAIRS[3]] <= 3, "once for the token, at most twice for the change"


async def test_a_check_that_fails_is_repeated_after_a_pause() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.failures = 2
        made.recheck(Recheck("p3", "u"))
    assert access.asked == {PAIRS[3]: 3}
    assert {name for name, _ in subscribed.done[:-1]} == {"suspend"}
    assert subscribed.done[-1] == ("resume", PAIRS[3])


async def test_without_an_answer_subscriptions_are_ended(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rules, "GIVE_UP_SECONDS", 0.0)
    with caplog.at_level(logging.WARNING):
        async with asyncio.TaskGroup() as tasks:
            made, access, subscribed = revalidator(tasks)
            access.failures = 1
            made.recheck(Recheck("p3", "u"))
    assert subscribed.done[-1] == ("give_up", PAIRS[3])
    assert "could not be re-checked" in caplog.text


async def test_rechecks_without_a_pause_do_not_put_off_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "GIVE_UP_SECONDS", 0.05)
    monkeypatch.setattr(rules, "RETRY_SECONDS", 0.01)
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.failures = 1_000_000
        async with asyncio.timeout(10):
            while ("give_up", PAIRS[3]) not in subscribed.done:
                made.recheck(Recheck("p3", "u"))
                await asyncio.sleep(0)


async def test_a_pair_that_is_rechecked_all_the_time_is_served_between_rechecks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "STARVING_SECONDS", 0.01)
    async with asyncio.TaskGroup() as tasks:
        made, access, subscribed = revalidator(tasks)
        access.may_answer.clear()
        made.recheck(Recheck("p3", "u"))
        await asyncio.sleep(0.02)
        made.recheck(Recheck("p3", None))
        access.may_answer.set()
        async with asyncio.timeout(10):
            while subscribed.done[-1][0] != "resume":
                await asyncio.sleep(0)
                access.may_answer.clear()
            while subscribed.done[-1][0] != "suspend":  # the next answer is late
                await asyncio.sleep(0.001)
        access.may_answer.set()
    assert subscribed.done[-1] == ("resume", PAIRS[3])
    assert not made._timers
