"""``make bench-capture``: what our triggers cost a writer.

Compared with no triggers and with the usual row-level ones. All variants run on one server,
interleaved round by round, with a listener running. Two more show where the cost is: a
statement-level trigger that does nothing is the minimum for any such capture, and with the
listener stopped only the writer's own share is left. Figures are medians and ratios of one run.
"""

import argparse
import asyncio
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from deploy.dev.servers import find_postgres_programs
from listener.leader.leader_state import parse_snapshot_cursor
from shared.links.redis_link import Client, connect, read_state
from shared.links.redis_url import parse_redis_url
from shared.protocol.channels import RedisNames
from tests.load.stack import MeasuredStack, execute, running

ROWS: Final = 20_000
PROJECTS: Final = 200
BULKS: Final = 4  # per round; each takes little time
CATCH_UP_SECONDS: Final = 60.0
BARE: Final = "no triggers"
USUAL: Final = "row-level NOTIFY"
OURS: Final = "neverstale"
STOPPED: Final = "neverstale, listener stopped"
TABLES: Final = {
    BARE: "bare",
    "empty trigger": "empty",
    USUAL: "usual",
    OURS: "ours",
    STOPPED: "ours",
}
VARIANTS: Final = tuple(TABLES)
SCHEMA: Final = f"""
create table projects (id uuid primary key, owner_id uuid);
create table project_members (project_id uuid, user_id uuid);
insert into projects
select gen_random_uuid(), gen_random_uuid() from generate_series(1, {PROJECTS});
create table bare (id int primary key, project_id uuid not null, title text);
insert into bare
select n, (array(select id from projects))[1 + n % {PROJECTS}], ''
  from generate_series(1, {ROWS}) as n;
create table accounts (id int primary key, seen_at timestamptz);
insert into accounts select n from generate_series(1, {ROWS}) as n;
create table audit (
    id bigint generated always as identity primary key, account_id int, what text
);
create table empty (like bare including all);
create table usual (like bare including all);
create table ours (like bare including all);
insert into empty select * from bare;
insert into usual select * from bare;
insert into ours select * from bare;
create function nothing() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger nothing after update on empty referencing new table as changed
  for each statement execute function nothing();
-- what teams write by hand: a payload for each row
create function usual_notify() returns trigger language plpgsql as $$
begin
  perform pg_notify('usual', json_build_object(
    'resource', 'task', 'id', new.id, 'action', tg_op, 'project_id', new.project_id,
    'timestamp', clock_timestamp())::text);
  return new;
end $$;
create trigger usual after insert or update on usual
  for each row execute function usual_notify();
"""
CONFIG: Final = """
[[watch]]
table = "ours"
resource = "task"
id = "id"
project = "project_id"
"""
SINGLE: Final = (
    f"\\set id random(1, {ROWS})\nupdate %s set title = 'x' || :id where id = :id;\n"
)
TEN: Final = (
    "begin;\n"
    + "".join(
        f"\\set id random(1, {ROWS})\nupdate %s set title = 'x' where id = :id;\n"
        for _ in range(10)
    )
    + "commit;\n"
)
# What a request of an app does: five statements, of which one changes a watched table.
REQUEST: Final = (
    f"\\set id random(1, {ROWS})\n\\set account random(1, {ROWS})\nbegin;\n"
    "select * from accounts where id = :account;\n"
    "select * from %s where id = :id;\n"
    "update %s set title = 'x' || :id where id = :id;\n"
    "insert into audit (account_id, what) values (:account, 'task ' || :id);\n"
    "update accounts set seen_at = now() where id = :account;\n"
    "commit;\n"
)
SCENARIOS: Final = {
    "16 writers, a request of five statements": (16, REQUEST),
    "1 writer, single rows": (1, SINGLE),
    "16 writers, single rows": (16, SINGLE),
    "32 writers, single rows": (32, SINGLE),
    # one writer: ten random rows in one transaction deadlock where writers share rows
    "1 writer, ten statements": (1, TEN),
}
BULK: Final = f"one UPDATE of {ROWS:,} rows"


def main() -> int:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(prog="make bench-capture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="of each measurement (default 3)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neverstale-bench-") as name:
        folder = Path(name)
        with running(folder, SCHEMA, CONFIG) as stack:
            found = asyncio.run(_measure(stack, folder, arguments.rounds, arguments.seconds))
    _report(found, arguments.rounds)
    return 0


async def _measure(
    stack: MeasuredStack, folder: Path, rounds: int, seconds: int
) -> dict[tuple[str, str], list[float]]:
    """Return each variant's transactions per second; for the bulk update, its seconds."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    url, port = stack.postgres.url, stack.postgres.port
    hearing = await asyncpg.connect(url)  # the usual triggers have a LISTENing session, too
    await hearing.add_listener("usual", lambda *_: None)
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
        turn = number % len(VARIANTS)
        turned = VARIANTS[turn:] + VARIANTS[:turn]
        for scenario, (writers, script) in SCENARIOS.items():
            for variant in turned:
                path = folder / "script.sql"
                path.write_text(script.replace("%s", TABLES[variant]))
                async with _listening(stack, variant):
                    tps = await asyncio.to_thread(_pgbench, port, path, writers, seconds)
                found[scenario, variant].append(tps)
        for _ in range(BULKS):
            for variant in turned:
                async with _listening(stack, variant):
                    started = time.perf_counter()
                    await execute(url, f"update {TABLES[variant]} set title = 'bulk {number}'")
                    found[BULK, variant].append(time.perf_counter() - started)
                await execute(url, f"vacuum {TABLES[variant]}")
    await hearing.close()
    return found


@asynccontextmanager
async def _listening(stack: MeasuredStack, variant: str) -> AsyncIterator[None]:
    """Run the listener as the variant needs it. At the end it has published everything."""
    if variant == STOPPED:
        stack.listeners[0].process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stack.listeners[0].process.send_signal(signal.SIGCONT)
    client = connect(parse_redis_url(stack.valkey.url))
    connection = await asyncpg.connect(stack.postgres.url)
    try:
        now = await connection.fetchval("select pg_current_snapshot()::text")
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while not await _has_seen(client, connection, now):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
        await client.aclose()


async def _has_seen(
    client: Client, connection: "asyncpg.Connection[asyncpg.Record]", snapshot: str
) -> bool:
    """Whether the leader's saved cursor has reached the snapshot."""
    state = await read_state(client, RedisNames().state)
    cursor = parse_snapshot_cursor(state.get("cursor", ""))
    return bool(
        cursor
        and await connection.fetchval(
            "select pg_snapshot_xmin($1::text::pg_snapshot)"
            " >= pg_snapshot_xmax($2::text::pg_snapshot)",
            cursor.snapshot,
            snapshot,
        )
    )


def _pgbench(port: int, script: Path, writers: int, seconds: int) -> float:
    program = find_postgres_programs() / "pgbench"
    options = ["-n", "-M", "prepared", "-c", str(writers), "-j", "1", "-T", str(seconds)]
    server = ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"]
    done = subprocess.run(
        [program, *options, "-f", script, *server], capture_output=True, text=True, check=True
    )
    match = re.search(r"tps = ([\d.]+)", done.stdout)
    if match is None:
        raise RuntimeError(done.stdout + done.stderr)
    return float(match[1])


def _report(found: dict[tuple[str, str], list[float]], rounds: int) -> None:
    print(f"\nmedians of {rounds} interleaved rounds; ratio to no triggers in brackets\n")
    print("| | " + " | ".join(VARIANTS) + " | neverstale : row-level |")
    print("|---|" + "---|" * (len(VARIANTS) + 1))
    for scenario in (*SCENARIOS, BULK):
        medians = {name: statistics.median(found[scenario, name]) for name in VARIANTS}
        unit = "ms" if scenario == BULK else "tx/s"
        scale = 1000 if scenario == BULK else 1
        cells = [
            f"{value * scale:,.0f} {unit} ({value / medians[BARE]:.2f})"
            for value in medians.values()
        ]
        ratio = medians[OURS] / medians[USUAL]
        print(f"| {scenario} | " + " | ".join(cells) + f" | {ratio:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
