"""``make bench-recovery``: what a failure costs clients, in resets and time.

Each scenario has its own database, servers, listeners and gateways, and clients that resume
with their cursors. It prints tables and asserts nothing.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from tests.load.bench import fresh_world
from tests.load.precision import hot_row, leader_killed, page_loads, redis_lost, rolling_restart
from tests.load.times import (
    connect_storm,
    leader_frozen_times,
    leader_killed_times,
    redis_back_times,
    resume_storm,
    revocation_times,
)
from tests.support.world import World

SCENARIOS: Final[dict[str, Callable[[World], Awaitable[str]]]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        rolling_restart,
        leader_killed,
        hot_row,
        page_loads,
        redis_lost,
        leader_killed_times,
        leader_frozen_times,
        redis_back_times,
        resume_storm,
        connect_storm,
        revocation_times,
    )
}


async def play(scenario: Callable[[World], Awaitable[str]]) -> str:
    async with fresh_world() as world:
        return await scenario(world)


def main() -> int:
    """Run the scenarios and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-recovery", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*SCENARIOS, []], help="default: all")
    names = parser.parse_args().only or list(SCENARIOS)
    print("| scenario | what happened |\n|---|---|")
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = asyncio.run(play(SCENARIOS[name]))
        print(f"| {(SCENARIOS[name].__doc__ or '').strip()} | {found} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
