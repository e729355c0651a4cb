"""``make attack``: attacks on a real stack, and their effect on a victim beside them."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.attack.catalog import ATTACKS
from tests.attack.measurement import Outcome, play
from tests.attack.registry import Attack
from tests.support.machine import allow_many_files
from tests.support.servers import running_servers

SECONDS: Final = 8.0
BASELINE_SECONDS: Final = 4.0
MOST_LOAD: Final = 1.0
_HEAD: Final = (
    "| attack | by | p50 ms | p99 ms | without | ratio | lost | resets | logins failed "
    "| gateway MiB | listener MiB | |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Return the exit code: 0 all bounds hold, 1 some do not, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=sorted(ATTACKS), help="these attacks"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"of each attack (default {SECONDS:g})"
    )
    parser.add_argument("--list", action="store_true", help="say what each attack does")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures there")
    arguments = parser.parse_args()
    chosen = [ATTACKS[name] for name in arguments.only or ATTACKS]
    if arguments.list:
        for attack in chosen:
            print(f"{attack.name} ({attack.who}): {attack.what}")
        return 0
    allow_many_files()
    if (load := os.getloadavg()[0]) > MOST_LOAD:
        print(f"the machine is busy (load {load:.1f}): times say little, run it again alone")
    outcomes = asyncio.run(_play_all(chosen, arguments.seconds))
    broken = {
        outcome.name: outcome.broken(attack, timed=True)
        for attack, outcome in zip(chosen, outcomes, strict=True)
    }
    if arguments.json:
        figures = [{**asdict(each), "broken": broken[each.name]} for each in outcomes]
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\n{_HEAD}")
    for outcome in outcomes:
        print(_row(outcome, broken[outcome.name]))
    failed = [name for name in broken if broken[name]]
    print(f"\n{len(chosen) - len(failed)} of {len(chosen)} attacks stayed within their bounds")
    for name in failed:
        print(f"\n{name} ({ATTACKS[name].who}): {ATTACKS[name].what}")
        print(*(f"  broken: {text}" for text in broken[name]), sep="\n")
    return 1 if failed else 0


async def _play_all(chosen: Sequence[Attack], seconds: float) -> list[Outcome]:
    outcomes = []
    with running_servers() as servers:
        for number, attack in enumerate(chosen, 1):
            print(f"[{number}/{len(chosen)}] {attack.name} ...", end=" ", flush=True)
            outcome = await play(
                attack, servers, seconds=seconds, baseline_seconds=BASELINE_SECONDS
            )
            outcomes.append(outcome)
            problems = outcome.broken(attack, timed=True)
            said = "; ".join(problems) if problems else "within its bounds"
            print(
                f"p99 {outcome.p99:.1f} ms ({outcome.p99_before:.1f} without): {said}",
                flush=True,
            )
    return outcomes


def _row(outcome: Outcome, broken: Sequence[str]) -> str:
    cells = (
        outcome.name,
        outcome.who,
        f"{outcome.p50:.1f}",
        f"{outcome.p99:.1f}",
        f"{outcome.p99_before:.1f}",
        f"{outcome.ratio:.1f}",
        str(outcome.lost),
        str(outcome.resets),
        f"{len(outcome.failed_logins)} of {outcome.logins}",
        f"{outcome.gateway_growth:+.0f}, {outcome.gateway_peak:.0f}",
        f"{outcome.listener_growth:+.0f}, {outcome.listener_peak:.0f}",
        "BROKEN" if broken else "",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
