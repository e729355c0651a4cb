"""``make soak``: load, churn and faults for a long time; nothing may grow, no change be missed.

Its stack is that of the stale oracle, its clients are those of the load test.
"""

import argparse
import asyncio
import html
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from deploy.dev.servers import ServerFailed, ServerMissing
from shared.runtime.lifecycle import leaf_exceptions
from tests.chaos.kinds import GATEWAYS
from tests.chaos.stack import LISTENERS, running_stack
from tests.chaos.timeline import Timeline
from tests.load.measurement import Options
from tests.load.report import section, summary, write_page
from tests.load.stack import StackFailed
from tests.soak.report import charts, tables
from tests.soak.soak import Soak
from tests.soak.stack import launchers
from tests.support.background import background
from tests.support.machine import allow_many_files

SETTINGS: Final = {
    "REPLAY_MAX_ROWS": "100",  # so that the channel logs are soon full, and stay as large
    "MAX_SOCKETS_PER_ADDRESS": "0",
    "DRAIN_SECONDS": "10",  # less than the oracle's faults wait for the end of a process
}


async def _play(arguments: argparse.Namespace, options: Options) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="neverstale-soak-") as name:
        folder = Path(name)
        async with (
            background() as links,
            running_stack(Timeline(), links, SETTINGS, launchers(folder)) as stack,
        ):
            return await Soak(arguments, options, stack, folder).play()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of load (30)")
    parser.add_argument("--sockets", type=int, default=1000, help="WebSockets in all (1000)")
    parser.add_argument("--projects", type=int, default=100, help="projects (100)")
    parser.add_argument(
        "--rate", type=float, help="rows a second (found so that half of the cores are used)"
    )
    parser.add_argument(
        "--churn",
        type=float,
        default=0.005,
        help="sockets that leave a second, a share (0.005)",
    )
    parser.add_argument(
        "--fault-every", type=float, default=120, help="seconds between faults (120)"
    )
    parser.add_argument(
        "--token-seconds", type=float, default=240, help="how long tokens are valid (240)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of faults and users (1)")
    parser.add_argument(
        "--output", type=Path, default=Path("build/soak"), help="folder of the report"
    )
    return parser


def main() -> int:
    """Return the exit code: 0 all is flat and nothing was lost, 1 it is not, 2 wrong usage."""
    parser = _parser()
    arguments = parser.parse_args()
    if min(arguments.minutes, arguments.fault_every, arguments.projects, arguments.churn) <= 0:
        parser.error("all sizes must be above 0")
    allow_many_files()
    options = Options(
        sockets=arguments.sockets,
        projects=arguments.projects,
        rate=arguments.rate or 1.0,
        seconds=round(60 * arguments.minutes),
        gateways=len(GATEWAYS),
        clients=1,
        listeners=len(LISTENERS),
        token_seconds=arguments.token_seconds,
    )
    failed: list[Exception] = []
    figures: dict[str, Any] = {}
    try:
        figures = asyncio.run(_play(arguments, options))
    except* (ServerMissing, ServerFailed, StackFailed) as group:
        failed = leaf_exceptions(group)
    if failed:
        print(f"make soak: {failed[0]}", file=sys.stderr)
        return 1
    held = tables(figures)
    print(f"{summary(figures)}\n{held}")
    page = f'<pre>{html.escape(held)}</pre><div class="plots">{charts(figures["held"])}</div>'
    write_page(arguments.output, "soak", figures, page + section(figures))
    print(f"report: {arguments.output / 'report.html'}, {arguments.output / 'report.json'}")
    return 0 if figures["is_right"] else 1


if __name__ == "__main__":
    sys.exit(main())
