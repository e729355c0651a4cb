"""The measurement of attacks finds broken bounds: otherwise no attack could fail."""

from typing import Any

import aiohttp
import pytest

from tests.attack.catalog import ATTACKS
from tests.attack.measurement import LOST_MS, Outcome, _latencies, _percentiles
from tests.attack.registry import Attack, Bounds, attack
from tests.attack.victim import Change, Victim
from tests.support.processes import Part
from tests.support.resuming_client import ResumingClient


async def _play(_: object) -> None:
    """Do nothing."""


PLAYED: Attack = attack(
    "nobody", bounds=Bounds(p99_ms=3500, growth_mib=10, resets=1, log_lines=5)
)(_play)
FINE: dict[str, Any] = {
    "p99_before": 2.0,
    "p99": 14.0,
    "changes": 100,
    "logins": 10,
    "resets": 1,
    "gateway_growth": 9.0,
    "log_lines": 5,
}


def test_an_outcome_within_its_bounds_is_not_broken() -> None:
    assert Outcome("x", "nobody", **FINE).broken(PLAYED, timed=True) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"p99": 16.0}, "p99 is 3.2 times as high (at most 3)"),
        ({"p99": 4000.0, "p99_before": 3000.0}, "p99 is 4000 ms (at most 3500)"),
        ({"lost": 2}, "2 of 100 changes were not delivered"),
        ({"changes": 0}, "the app could not write"),
        ({"logins": 0}, "0 of 0 logins failed ()"),
        ({"failed_logins": ["a", "b", "a"]}, "3 of 10 logins failed (a, b)"),
        ({"resets": 2}, "the victim was reset 2 times (at most 1)"),
        ({"gateway_growth": 11.0}, "the gateway grew by 11 MiB (at most 10)"),
        ({"listener_growth": 11.0}, "the listener grew by 11 MiB (at most 10)"),
        ({"log_lines": 6}, "6 log lines were written (at most 5)"),
        ({"log_lines": 26, "seconds": 2.0}, "26 log lines were written (at most 25)"),
        ({"faults": ["it ended"]}, "it ended"),
    ],
    ids=lambda case: next(iter(case)) if isinstance(case, dict) else "",
)
def test_each_bound_can_be_broken(changed: dict[str, Any], problem: str) -> None:
    outcome = Outcome("x", "nobody", **{**FINE, **changed})
    assert outcome.broken(PLAYED, timed=True) == [problem]
    timed = "p99" in changed
    assert outcome.broken(PLAYED, timed=False) == ([] if timed else [problem])


async def test_a_change_counts_as_received_by_its_event_or_a_later_reset() -> None:
    async with aiohttp.ClientSession() as http:
        victim = Victim.__new__(Victim)
        ResumingClient.__init__(victim, http, [Part("gateway", {}, 0)], "p", "u")
    victim.received_at, victim.reset_at = {"a": 10.5, "b": 10.5}, [9.0, 10.25]
    changes = [Change(id_, 9.5, 10.0) for id_ in ("a", "c")] + [Change("b", 10.0, 10.3)]
    assert _latencies(victim, changes) == [250.0, 250.0, pytest.approx(200.0)]
    assert _latencies(victim, [Change("d", 10.9, 11.0)]) == [LOST_MS]


def test_percentiles() -> None:
    assert _percentiles([]) == (0.0, 0.0)
    assert _percentiles([float(n) for n in range(200)]) == (100.0, 198.0)


def test_every_attack_documents_its_attacker_and_its_bounds() -> None:
    assert len(ATTACKS) > 40
    for name, each in ATTACKS.items():
        assert name == each.play.__name__
        assert len(each.what) > 40, name
