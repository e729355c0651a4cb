"""``make growth``: what a gateway costs with more connections, and with more projects.

No figure per connection, handshake or delivery may grow with their number. Measured like
``make bench``, on a core of its own.
"""

import argparse
import asyncio
import html
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.load.compare import CLIENT_CORE, FIGURES, Figure, Size, measure
from tests.load.peers.servers import Neverstale, Unavailable, build
from tests.load.plots import Line, line_chart
from tests.support.machine import allow_many_files

# Connections and projects: first ten to a project, then always 10,000 connections.
CONNECTIONS: Final = ((100, 10), (300, 30), (1000, 100), (3000, 300), (10_000, 1000))
MOST_CONNECTIONS: Final = 20_000
SPARE_FILES: Final = 500  # besides the sockets of a process
PROJECTS: Final = ((10_000, 10), (10_000, 100), (10_000, 1000), (10_000, 10_000))
SHOWN: Final = {
    "small": Figure(FIGURES["small"].title, "us of CPU per delivery"),
    **{name: FIGURES[name] for name in ("memory", "handshakes", "returns")},
    "lag": Figure("event-loop lag, p99", "ms at most"),
    "pause": Figure("longest pause of the garbage collector", "ms at most"),
}
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
                figures = await measure(server, program, size)
                found[connections, projects] = figures | await read_pauses(server.port)
    finally:
        program.unlink()
    return found


async def read_pauses(port: int) -> dict[str, float]:
    """Read how long a gateway has stood still since it started."""
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        text = await response.text()
    return {
        "lag": bound_ms(text, "neverstale_event_loop_lag_seconds", 0.99),
        "pause": bound_ms(text, "neverstale_gc_pause_seconds", 1.0),
    }


def bound_ms(metrics: str, name: str, share: float) -> float:
    """Return what this share of a histogram's durations does not exceed, by its buckets."""
    counts = {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == f"{name}_bucket"
    }
    return 1000 * min(le for le, count in counts.items() if count >= share * counts[math.inf])


def as_markdown(found: dict[tuple[int, int], dict[str, float]]) -> str:
    titles = [f"{figure.title}: {figure.unit}" for figure in SHOWN.values()]
    lines = ["| connections | projects | " + " | ".join(titles) + " |"]
    lines.append("|---|---|" + "---|" * len(titles))
    for (connections, projects), figures in found.items():
        cells = " | ".join(f"{figures[name]:,.1f}" for name in SHOWN)
        lines.append(f"| {connections:,} | {projects:,} | {cells} |")
    return "\n".join(lines)


def as_html(found: dict[tuple[int, int], dict[str, float]]) -> str:
    charts = []
    for name, figure in SHOWN.items():
        points = sorted(
            (math.log10(connections), figures[name])
            for (connections, projects), figures in found.items()
            if connections == 10 * projects
        )
        charts.append(
            line_chart(
                f"{figure.title}: {figure.unit}",
                [Line("", points)],
                unit="",
                x_label="connections",
                x_names=lambda power: f"{10**power:,.0f}",
            )
        )
    return (
        "<!doctype html><meta charset=utf-8><title>Growth</title>"
        + "".join(charts)
        + f"<pre>{html.escape(as_markdown(found))}</pre>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make growth", description=__doc__)
    parser.add_argument(
        "--most",
        action="store_true",
        help=f"up to {MOST_CONNECTIONS:,} connections, if a process may open so many files",
    )
    parser.add_argument("--output", type=Path, default=Path(".dev/bench"), help="folder")
    arguments = parser.parse_args()
    sizes = dict.fromkeys((*CONNECTIONS, *PROJECTS))
    room = (allow_many_files() - SPARE_FILES) // 1000 * 1000
    if arguments.most:
        most = min(MOST_CONNECTIONS, room)
        sizes[most, most // 10] = None
    needed = max(connections for connections, _ in sizes)
    if needed > room:
        parser.error(
            f"{needed:,} connections need {needed + SPARE_FILES:,} open files in a process:"
            " raise the hard limit (ulimit -Hn)"
        )
    os.sched_setaffinity(0, {CLIENT_CORE})
    try:
        found = asyncio.run(measure_all(list(sizes)))
    except Unavailable as exc:
        print(f"make growth: {exc}", file=sys.stderr)
        return 1
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
