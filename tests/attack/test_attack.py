"""The short form of ``make attack``: one attack of each kind must not affect the victim.

Latency is not judged here. Nothing may be lost, logins must succeed, memory must stay bounded,
no process may exit, and the victim must still receive its events.
"""

from collections.abc import Sequence
from typing import Final

import pytest

from tests.attack.catalog import ATTACKS
from tests.attack.measurement import Outcome, play, play_on
from tests.attack.scene import build_scene
from tests.support.servers import running_servers
from tests.support.world import make_world

SECONDS: Final = 1.5
BASELINE_SECONDS: Final = 0.2
TOGETHER: Final = (
    "large_headers",
    "refused_pings",
    "gzip_bombs",
    "pings",
    "auth_storm",
    "malformed_notify",
    "huge_notify",
    "huge_values",
    "wrong_type",
)
APART: Final = ("held_locks", "idle_connections")  # these need a new stack each


async def test_attacks_on_one_stack_do_not_affect_the_victim() -> None:
    outcomes = [Outcome(name, ATTACKS[name].who) for name in TOGETHER]
    with running_servers() as servers:
        async with make_world(servers) as world:
            scene = await build_scene(world, {}, standby=False, max_files=None)
            for outcome in outcomes:
                await play_on(
                    scene,
                    ATTACKS[outcome.name],
                    outcome,
                    seconds=SECONDS,
                    baseline_seconds=BASELINE_SECONDS,
                )
    assert_unharmed(outcomes)


@pytest.mark.parametrize("name", APART)
async def test_an_attack_on_its_own_stack_does_not_affect_the_victim(name: str) -> None:
    with running_servers() as servers:
        outcome = await play(
            ATTACKS[name], servers, seconds=SECONDS, baseline_seconds=BASELINE_SECONDS
        )
    assert_unharmed([outcome])


def assert_unharmed(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        assert outcome.attacker, f"{outcome.name} did nothing"
    broken = {each.name: each.broken(ATTACKS[each.name], timed=False) for each in outcomes}
    assert broken == {each.name: [] for each in outcomes}
