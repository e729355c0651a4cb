"""``make growth``: what a gateway costs with more connections, and with more projects.

No figure per connection, handshake or delivery may grow with their number. Measured like
``make bench``, on a core of its own.
"""

import argparse
import asyncio
import html
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.load.compare import CLIENT_CORE, FIGURES, Size, measure
from tests.load.peers.servers import Neverstale, build
from tests.load.plots import Line, line_chart

# Connections and projects: first ten to a project, then always 10,000 connections.
CONNECTIONS: Final = ((100, 10), (300, 30), (1000, 100), (3000, 300), (10_000, 1000))
MORE_CONNECTIONS: Final = ((20_000, 2000),)
PROJECTS: Final = ((10_000, 10), (10_000, 100), (10_000, 1000), (10_000, 10_000))
SHOWN: Final = ("small", "memory", "handshakes", "returns")
MESSAGES: Final = 400


async def measure_all(
    sizes: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], dict[str, float]]:
    found = {}
    program = build("client")
    try:
        for connections, projects in sizes:
            print(f"{connections:,} in {projects:,} projects", file=sys.stderr, flush=True)
            size = Size(
                subscribers=min(1000, connections),
                messages=MESSAGES,
                channels=projects,
                per_channel=connections // projects,
                rounds=1,
            )
            async with Neverstale.running() as server:
                found[connections, projects] = await measure(server, program, size)
    finally:
        program.unlink()
    return found


def as_markdown(found: dict[tuple[int, int], dict[str, float]]) -> str:
    titles = [f"{FIGURES[name].title}: {FIGURES[name].unit}" for name in SHOWN]
    titles[0] = "us of CPU per delivery"
    lines = ["| connections | projects | " + " | ".join(titles) + " |"]
    lines.append("|---|---|" + "---|" * len(titles))
    for (connections, projects), figures in found.items():
        cells = " | ".join(f"{figures[name]:,.1f}" for name in SHOWN)
        lines.append(f"| {connections:,} | {projects:,} | {cells} |")
    return "\n".join(lines)


def as_html(found: dict[tuple[int, int], dict[str, float]]) -> str:
    charts = []
    for name in SHOWN:
        points = sorted(
            (connections, figures[name])
            for (connections, projects), figures in found.items()
            if connections == 10 * projects
        )
        charts.append(
            line_chart(
                FIGURES[name].title,
                [Line("", points)],
                unit=FIGURES[name].unit,
                x_label="connections",
                x_names="{:,.0f}".format,
            )
        )
    return (
        "<!doctype html><meta charset=utf-8><title>Growth</title>"
        + "".join(charts)
        + f"<pre>{html.escape(as_markdown(found))}</pre>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make growth", description=__doc__)
    parser.add_argument("--most", action="store_true", help="20,000 connections too")
    parser.add_argument("--output", type=Path, default=Path(".dev/bench"), help="folder")
    arguments = parser.parse_args()
    more = MORE_CONNECTIONS if arguments.most else ()
    sizes = dict.fromkeys((*CONNECTIONS, *more, *PROJECTS))
    os.sched_setaffinity(0, {CLIENT_CORE})
    found = asyncio.run(measure_all(list(sizes)))
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.html").write_text(as_html(found))
    rows = [
        {"connections": key[0], "projects": key[1], **figures} for key, figures in found.items()
    ]
    (folder / "growth.json").write_text(json.dumps(rows, indent=1))
    print(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
