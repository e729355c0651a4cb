"""A few fixed races; ``make races`` runs a thousand."""

from tests.chaos.race import plan_race
from tests.chaos.races import play_wave
from tests.chaos.stack import running_stack
from tests.chaos.timeline import Timeline
from tests.support.background import background


def test_a_seed_decides_the_steps() -> None:
    assert plan_race(7) == plan_race(7) != plan_race(8)
    told = {step.kind for seed in range(20) for step in plan_race(seed).steps}
    assert {"add", "remove", "give", "take", "delete", "create", "connect"} <= told


async def test_a_user_who_loses_a_project_receives_no_more_events() -> None:
    async with (
        background() as links,
        running_stack(Timeline(), links) as stack,
        background() as listening,
    ):
        await stack.ready()
        fault = "a lost Redis link of both gateways"
        outcome = await play_wave(stack, range(1, 13), fault, listening)
    assert not outcome.violations
    assert outcome.ended
