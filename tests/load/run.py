"""``make load``: measure the whole pipeline with many sockets, projects and rows.

Each scenario has its own stack: PostgreSQL, Valkey, a listener and gateways.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deploy.dev.servers import ServerFailed, ServerMissing
from tests.load.measurement import Options, Run, Writer, client_processes
from tests.load.report import figures_of, summary, write_report
from tests.load.scenarios import SCENARIOS, Scenario
from tests.load.stack import MeasuredStack, StackFailed, running
from tests.load.wire import ID_SQL
from tests.support.machine import allow_many_files

LONGEST_SECONDS: Final = 1000  # a row's id holds its time in 32 bits of microseconds
MOST_PROJECTS: Final = 2**16
SPARE_FILES: Final = 200
NOBODY: Final = 2**40
SCHEMA: Final = f"""
create table projects (id uuid primary key, owner_id uuid not null);
create table project_members (project_id uuid, user_id uuid, primary key (project_id, user_id));
create table rows (id text primary key, project_id uuid not null);
insert into projects
select {ID_SQL.format("n")}, {ID_SQL.format(f"{NOBODY}::bigint")}
  from generate_series(0, {{projects}} - 1) as n;
insert into project_members
select {ID_SQL.format("n % {projects}")}, {ID_SQL.format("n")}
  from generate_series(0, {{sockets}} - 1) as n;
"""
CONFIG: Final = """
[[watch]]
table = "rows"
resource = "task"
id = "id"
project = "project_id"
"""


def main() -> int:
    """Return the exit code: 0 nothing was lost, 1 a loss or a failed part, 2 wrong usage."""
    parser = _parser()
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    plans = {name: _options(SCENARIOS[name].options, arguments) for name in names}
    for name, options in plans.items():
        if problem := _problem(options):
            parser.error(f"{name}: {problem}")
    results = []
    try:
        for name, options in plans.items():
            result = _play(name, SCENARIOS[name], options)
            results.append(result)
            write_report(arguments.output, results)
            print(summary(result), flush=True)
    except (ServerMissing, ServerFailed, StackFailed) as exc:
        print(f"make load: {exc}", file=sys.stderr)
        return 1
    print(f"report: {arguments.output / 'report.html'}, {arguments.output / 'report.json'}")
    wrong = [result["scenario"] for result in results if not result["is_right"]]
    if wrong:
        print(f"FAILED: {', '.join(wrong)}: see above", file=sys.stderr)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    lines = ["scenarios, with their sizes unless given:"]
    for name, scenario in SCENARIOS.items():
        size = scenario.options
        lines.append(
            f"  {name:16} {scenario.about}\n{'':19}"
            f"{size.sockets} sockets, {size.projects} projects, {size.rate:g} rows/s, "
            f"{size.seconds} s, {size.gateways} gateways"
        )
    parser = argparse.ArgumentParser(
        prog="make load",
        description=__doc__,
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="this one (repeatable)"
    )
    parser.add_argument("--sockets", type=int, help="WebSockets in all")
    parser.add_argument("--projects", type=int, help="projects that they are spread over")
    parser.add_argument("--rate", type=float, help="rows written a second, each in a commit")
    parser.add_argument("--seconds", type=int, help="length of each measured window")
    parser.add_argument("--gateways", type=int, help="gateway processes")
    parser.add_argument("--workers", type=int, help="processes of each gateway")
    parser.add_argument("--clients", type=int, help="load client processes")
    parser.add_argument("--slow-share", type=float, help="of the sockets, in slow-clients")
    parser.add_argument(
        "--plain", action="store_true", help="plain clients instead of neverstale.v1"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/load"), help="folder of the report"
    )
    parser.add_argument(
        "--lose-one",
        action="store_true",
        help="one client ignores one event: the run must find it (a check of the check)",
    )
    return parser


def _options(defaults: Options, arguments: argparse.Namespace) -> Options:
    names = ("sockets", "projects", "rate", "seconds", "gateways", "workers", "clients")
    given = {name: getattr(arguments, name) for name in names}
    if defaults.slow_share:
        given["slow_share"] = arguments.slow_share
    return replace(
        defaults,
        **{name: value for name, value in given.items() if value is not None},
        is_v1=not arguments.plain,
        loses_one=arguments.lose_one,
    )


def _problem(options: Options) -> str | None:
    """Return why a size is impossible, or None."""
    least: Any = min(
        options.projects,
        options.rate,
        options.seconds,
        options.gateways,
        options.workers,
        options.clients,
    )
    files = allow_many_files()
    if least <= 0 or options.sockets < 2:
        return "all sizes must be above 0, and there must be two sockets"
    if options.projects >= MOST_PROJECTS or options.seconds > LONGEST_SECONDS:
        return f"at most {MOST_PROJECTS - 1} projects and {LONGEST_SECONDS} seconds"
    each = max(options.sockets // options.gateways, options.sockets // options.clients)
    if each + SPARE_FILES > files:
        return f"{each} sockets of one process are too many for its {files} files (ulimit -n)"
    return None


def _play(name: str, scenario: Scenario, options: Options) -> dict[str, Any]:
    schema = SCHEMA.format(projects=options.projects, sockets=options.sockets)
    with (
        tempfile.TemporaryDirectory(prefix="neverstale-load-") as folder,
        running(
            Path(folder), schema, CONFIG, gateways=options.gateways, workers=options.workers
        ) as stack,
    ):
        try:
            return asyncio.run(_measure(name, scenario, options, stack))
        except* StackFailed as group:
            failed = group.exceptions[0]
        raise StackFailed(f"{name}: {failed}")


async def _measure(
    name: str, scenario: Scenario, options: Options, stack: MeasuredStack
) -> dict[str, Any]:
    base_ns = time.monotonic_ns()
    writer = Writer(
        stack.postgres.url, options, lambda: (time.monotonic_ns() - base_ns) // 1000
    )
    ports = [part.port for part in stack.gateways]
    with client_processes(options, ports, base_ns) as clients:
        run = Run(name, options, stack, clients, writer, base_ns)
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(run.sample())
            await scenario.play(run)
            await run.settle()
            sampling.cancel()
        return figures_of(run, await clients.finish(dict(writer.acknowledged_us)))


if __name__ == "__main__":
    sys.exit(main())
