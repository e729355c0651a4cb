"""When access is asked again: at once and held after a change, seldom after a fresh token."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.access import revalidation as module
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
        return pair not in self.lost


class Fanout:
    """Notes what is done to whom."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Pair]] = []

    def pairs(self, recheck: Recheck) -> list[Pair]:
        return [pair for pair in PAIRS if recheck.project_id in (None, pair[0])]

    def __getattr__(self, name: str) -> Any:
        return lambda pair: self.done.append((name, pair))


def guard(tasks: asyncio.TaskGroup) -> tuple[Revalidator, Access, Fanout]:
    access, fanout = Access(), Fanout()
    given_access: Any = access
    given_fanout: Any = fanout
    return Revalidator(given_access, given_fanout, CollectorRegistry(), tasks), access, fanout


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REVALIDATION_REST_SECONDS", 0.01)


async def test_however_often_tokens_are_renewed_one_pass_runs_and_one_follows() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, fanout = guard(tasks)
        access.may_answer.clear()
        for _ in range(1000):
            made.revalidate_user("u")
            await asyncio.sleep(0)
        access.may_answer.set()
    assert access.asked == Counter(dict.fromkeys(PAIRS, 2))
    assert access.most_under_way < len(PAIRS), "not all at once"
    assert fanout.done == [], "nothing was held"


async def test_after_a_rest_tokens_are_renewed_as_before() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, fanout = guard(tasks)
        access.lost = {PAIRS[7]}
        for _ in range(2):
            made.revalidate_user("u")
            async with asyncio.timeout(10):
                while made._revalidating:
                    await asyncio.sleep(0.001)
    assert access.asked == Counter(dict.fromkeys(PAIRS, 2))
    assert fanout.done == [("revoke", PAIRS[7])] * 2


async def test_a_change_holds_at_once_what_it_concerns() -> None:
    async with asyncio.TaskGroup() as tasks:
        made, access, fanout = guard(tasks)
        access.may_answer.clear()
        made.revalidate_user("u")
        made.recheck(Recheck("p3", "u"))
        assert fanout.done == [("suspend", PAIRS[3])]
        made.recheck(Recheck("p3", None))
        await asyncio.sleep(0)
        access.lost = {PAIRS[3]}
        access.may_answer.set()
    assert fanout.done[-1] == ("revoke", PAIRS[3])
    assert access.asked[PAIRS[3]] <= 3, "once for the token, at most twice for the change"
