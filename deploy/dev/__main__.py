"""``python -m deploy.dev``: the stack of ``make dev``, and two commands to try it with."""

import argparse
import os
import sys

from deploy.dev.client import open_socket, run_sql
from deploy.dev.demo_stack import STATE, USERS, DemoStack
from deploy.dev.ports import parse_ports
from deploy.dev.run import run_reporting, run_until_signalled
from deploy.dev.tokens import TokenIssuer

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
    """Run the command. Return the exit code."""
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
    socket.add_argument("--user", choices=list(USERS), default="ada", help="the socket's user")
    socket.add_argument("--token", help="another token")
    socket.add_argument("--v1", action="store_true", help="speak the subprotocol neverstale.v1")
    sql = commands.add_parser("sql", help="run an SQL statement in the stack's database")
    sql.add_argument("text", help="the SQL")
    return run_reporting(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    if arguments.command == "up":
        stack = DemoStack(
            parse_ports(os.environ),
            os.environ,
            database_url=os.environ.get("DATABASE_URL") or None,
            redis_url=os.environ.get("REDIS_URL") or None,
        )
        await run_until_signalled(stack)
        return
    described = STATE.read_description()
    if arguments.command == "sql":
        await run_sql(described["database_url"], arguments.text)
        return
    await open_socket(
        arguments.url or described["gateways"][arguments.gateway - 1],
        arguments.project or described["project"],
        arguments.token or TokenIssuer(STATE.secret()).issue(USERS[arguments.user]),
        v1=arguments.v1,
    )


if __name__ == "__main__":
    sys.exit(main())
