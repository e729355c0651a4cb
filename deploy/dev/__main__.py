"""``python -m deploy.dev``: the stack of ``make dev``, and two commands to try it with."""

import argparse
import asyncio
import os
import signal
import sys

from deploy.dev.checkout import USERS, StackFailed, mint_token, read_secret, read_stack
from deploy.dev.client import open_socket, run_sql
from deploy.dev.ports import parse_ports
from deploy.dev.servers import ServerFailed, ServerMissing
from deploy.dev.stack import Stack

_EPILOG = """\
environment of `up`:
  DATABASE_URL        use this PostgreSQL instead of starting one
  REDIS_URL           use this Redis or Valkey instead of starting one
  DEV_POSTGRES_PORT   where PostgreSQL listens (default 54329)
  DEV_REDIS_PORT      where Valkey listens (default 6399)
  DEV_GATEWAY_PORTS   where the gateways listen (default 8080,8090)
  DEV_LISTENER_PORTS  health ports of the listeners (default 8081,8091)
  DEV_DEMO_PORT       where the demo is served (default 8000)
"""


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.dev",
        description="The development stack.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="run the stack until Ctrl-C")
    socket = commands.add_parser("socket", help="open a socket and print its frames")
    socket.add_argument("--gateway", type=int, choices=(1, 2), default=1, help="which gateway")
    socket.add_argument("--url", help="another gateway's address")
    socket.add_argument("--project", help="project id (default: Apollo)")
    socket.add_argument("--user", choices=list(USERS), default="ada", help="who listens")
    socket.add_argument("--token", help="another token")
    socket.add_argument("--v1", action="store_true", help="speak the subprotocol neverstale.v1")
    sql = commands.add_parser("sql", help="run a line of SQL in the stack's database")
    sql.add_argument("text", help="the SQL")
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except* (StackFailed, ServerFailed, ServerMissing) as failed:
        for exc in _leaves(failed):
            print(f"neverstale dev: {exc}", file=sys.stderr)
        return_code = 1
    except* KeyboardInterrupt:
        return_code = 130
    else:
        return_code = 0
    return return_code


def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "up":
        asyncio.run(_up())
        return
    stack = read_stack()
    if arguments.command == "sql":
        asyncio.run(run_sql(stack["database_url"], arguments.text))
        return
    asyncio.run(
        open_socket(
            arguments.url or stack["gateways"][arguments.gateway - 1],
            arguments.project or stack["project"],
            arguments.token or mint_token(arguments.user, read_secret()),
            v1=arguments.v1,
        )
    )


async def _up() -> None:
    stack = Stack(
        parse_ports(os.environ),
        os.environ,
        database_url=os.environ.get("DATABASE_URL") or None,
        redis_url=os.environ.get("REDIS_URL") or None,
    )
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stack.run())
        asked = False

        def stop() -> None:
            nonlocal asked
            if not asked:  # a second Ctrl-C must not cut the stopping short
                asked = True
                running.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    leaves: list[Exception] = []
    for exc in group.exceptions:
        leaves += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return leaves


if __name__ == "__main__":
    sys.exit(main())
