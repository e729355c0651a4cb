"""``python -m deploy.dev``: the stack of ``make dev``, and two commands to try it with."""

import argparse
import asyncio
import os
import signal
import sys

from deploy.dev.client import open_socket, read_stack, run_sql
from deploy.dev.servers import ServerFailed, ServerMissing
from deploy.dev.stack import USERS, Ports, Stack, StackFailed, mint_token, read_secret

_EPILOG = """\
environment of `up`:
  DATABASE_URL        use this PostgreSQL instead of starting one
  REDIS_URL           use this Redis or Valkey instead of starting one
  DEV_POSTGRES_PORT   where PostgreSQL listens (default 54329)
  DEV_REDIS_PORT      where Valkey listens (default 6399)
  DEV_GATEWAY_PORTS   where the gateways listen (default 8080,8090)
  DEV_LISTENER_PORTS  health ports of the listeners (default 8081,8091)
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
        if arguments.command == "up":
            return asyncio.run(_up())
        stack = read_stack()
        if arguments.command == "sql":
            asyncio.run(run_sql(stack["database_url"], arguments.text))
        else:
            asyncio.run(
                open_socket(
                    arguments.url or stack["gateways"][arguments.gateway - 1],
                    arguments.project or stack["project"],
                    arguments.token or mint_token(arguments.user, read_secret()),
                    v1=arguments.v1,
                )
            )
    except (StackFailed, ServerFailed, ServerMissing) as exc:
        print(f"neverstale dev: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _up() -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    ports = Ports(
        postgres=int(os.environ.get("DEV_POSTGRES_PORT", "54329")),
        redis=int(os.environ.get("DEV_REDIS_PORT", "6399")),
        gateways=_pair("DEV_GATEWAY_PORTS", "8080,8090"),
        listeners=_pair("DEV_LISTENER_PORTS", "8081,8091"),
    )
    stack = Stack(
        ports,
        os.environ,
        database_url=os.environ.get("DATABASE_URL") or None,
        redis_url=os.environ.get("REDIS_URL") or None,
    )
    await stack.run(stop)
    return 0


def _pair(name: str, default: str) -> tuple[int, int]:
    try:
        first, second = map(int, os.environ.get(name, default).split(","))
    except ValueError as exc:
        raise StackFailed(f"{name} must be two ports, like {default}") from exc
    return first, second


if __name__ == "__main__":
    sys.exit(main())
