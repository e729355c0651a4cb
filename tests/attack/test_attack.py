"""The short form of ``make attack``: one attack of each kind, and nobody beside it notices.

Nothing is said of speed here. What must hold: nothing is lost, logins succeed, memory is
bounded, no process ends, and the victim's events go on.
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
APART: Final = ("held_locks", "idle_connections")  # these need a stack of their own


async def test_nobody_beside_attackers_notices() -> None:
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
async def test_nobody_beside_an_attacker_notices(name: str) -> None:
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
