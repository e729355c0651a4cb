"""``neverstale dev``: a stack on the user's own database, and two commands to try it with."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.dev.client import open_socket
from deploy.dev.project_stack import ProjectOptions, ProjectStack, state_folder
from deploy.dev.run import run_reporting, run_until_signalled
from deploy.dev.state import StackFailed
from deploy.dev.tokens import TokenIssuer
from shared.runtime.lifecycle import DESCRIBED_EXIT_CODES

_DESCRIPTION: Final = """\
Runs Neverstale on a database of yours until Ctrl-C: installs the change log and the triggers of
invalidation.toml, then starts a listener and a gateway, and Valkey if no Redis is given.
`neverstale uninstall` removes the triggers from the database again.
"""
_EPILOG: Final = """\
The gateway accepts the tokens of your app if JWT_SECRET, or another key that the gateway takes,
is set. If none is, it accepts tokens signed with the secret in .neverstale/jwt_secret. The
other settings of listener and gateway are read from the environment too.

"""


def main(words: Sequence[str], *, prog: str) -> int:
    """Run the command line *words*. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=_DESCRIPTION,
        epilog=_EPILOG + DESCRIBED_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser, os.environ)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    socket = commands.add_parser(
        "socket", help="open a socket at the running gateway and print its frames"
    )
    socket.add_argument("--project", required=True, metavar="ID", help="the project's id")
    socket.add_argument(
        "--user", dest="socket_user", metavar="ID", help="the user (default: dev's --user)"
    )
    socket.add_argument("--token", help="a token of your app, instead of one for --user")
    socket.add_argument("--v1", action="store_true", help="speak the subprotocol neverstale.v1")
    token = commands.add_parser("token", help="print a token that the running gateway takes")
    token.add_argument("socket_user", metavar="USER_ID", help="the user's id")
    arguments = parser.parse_args(words)
    if arguments.command == "token":
        return run_reporting(_print_token(arguments))
    if arguments.command == "socket":
        return run_reporting(_open_socket(arguments))
    if not arguments.database_url:
        parser.error("name your database with --database-url or DATABASE_URL")
    return run_reporting(_run_stack(arguments))


def _add_options(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    parser.add_argument(
        "--database-url",
        metavar="URL",
        default=environment.get("DATABASE_URL"),
        help="PostgreSQL (default: DATABASE_URL)",
    )
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        default=environment.get("REDIS_URL"),
        help="Redis or Valkey (default: REDIS_URL; without both, Valkey is started)",
    )
    parser.add_argument(
        "--config",
        metavar="PATH",
        type=Path,
        default=Path(environment.get("NEVERSTALE_CONFIG") or "invalidation.toml"),
        help="the watched tables (default: NEVERSTALE_CONFIG, or invalidation.toml)",
    )
    parser.add_argument("--user", metavar="ID", help="print a token for the user with this id")
    for name, port, text in (
        ("gateway", 8080, "where the gateway listens"),
        ("listener", 8081, "where the listener serves /healthz, /readyz and /metrics"),
        ("redis", 6399, "where Valkey listens, if it is started"),
    ):
        parser.add_argument(
            f"--{name}-port",
            metavar="PORT",
            type=_port,
            default=port,
            help=f"{text} (default: {port})",
        )


def _port(word: str) -> int:
    port = int(word)
    if not 0 < port < 65536:
        raise ValueError(word)
    return port


async def _run_stack(arguments: argparse.Namespace) -> None:
    options = ProjectOptions(
        arguments.database_url,
        arguments.redis_url or None,
        arguments.config,
        arguments.user,
        arguments.gateway_port,
        arguments.listener_port,
        arguments.redis_port,
    )
    await run_until_signalled(ProjectStack(options, os.environ, Path.cwd()))


async def _print_token(arguments: argparse.Namespace) -> None:
    described = state_folder(Path.cwd()).read_description()
    print(_issue_token(described["issuer"], arguments.socket_user))


async def _open_socket(arguments: argparse.Namespace) -> None:
    described = state_folder(Path.cwd()).read_description()
    user = arguments.socket_user or described["user"]
    await open_socket(
        described["gateway"],
        arguments.project,
        arguments.token or _issue_token(described["issuer"], user),
        v1=arguments.v1,
    )


def _issue_token(issuer: dict[str, Any] | None, user: str | None) -> str:
    if issuer is None:
        raise StackFailed(
            "only your app can sign tokens for this gateway: give one with --token"
        )
    if user is None:
        raise StackFailed("name the user with --user")
    return TokenIssuer(**issuer).issue(user)
