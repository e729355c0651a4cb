"""Command line of the operators' commands: reads the environment and runs one."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from listener.setup.install import Config
from operations.check.examination import Examination, Targets
from operations.check.tokens import TokenSettings
from operations.commands import COMMANDS
from operations.settings import CheckSettings, StatusSettings
from operations.status.reading import StatusUnknown, read_from_gateway, read_from_redis
from operations.status.rendering import render_status
from shared.config.access_rules import ConfigError
from shared.config.config_file import read_config
from shared.config.settings import InvalidSettings, describe_settings, load_settings
from shared.protocol.channels import InvalidId, parse_id
from shared.runtime.findings import problems_of
from shared.runtime.lifecycle import (
    DESCRIBED_EXIT_CODES,
    EXIT_FAILED,
    EXIT_FINE,
    EXIT_WRONG_USAGE,
)
from shared.runtime.logs import configure_logging
from shared.runtime.printable import escaped

_MAX_LINE_CHARACTERS: Final = 100_000
_NOTHING: Final = "nothing to check: set DATABASE_URL or REDIS_URL, or name a --gateway"
_WATCH_SECONDS: Final = 1.0
_PROBE_NEEDS: Final = "--probe needs DATABASE_URL, --gateway, --token and --project"


class UsageError(Exception):
    """The options do not fit together."""


def run_command(command: str, words: Sequence[str], *, prog: str) -> int:
    """Run one command with the options in *words*. Return the exit code."""
    settings = CheckSettings if command == "check" else StatusSettings
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{COMMANDS[command][0].upper()}{COMMANDS[command][1:]}.",
        epilog=describe_settings(settings) + "\n\n" + DESCRIBED_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options, run = _RUNNABLE[command]
    add_options(parser)
    try:
        return asyncio.run(run(parser.parse_args(words)))
    except (InvalidSettings, ConfigError) as exc:
        _say(*(f"neverstale: {one}" for one in exc.problems), is_error=True)
    except UsageError as exc:
        _say(f"neverstale: {exc}", is_error=True)
    except StatusUnknown as exc:
        _say(f"neverstale: {exc}", is_error=True)
        return EXIT_FAILED
    except KeyboardInterrupt:  # the way to end --watch
        return EXIT_FINE
    return EXIT_WRONG_USAGE


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gateway",
        metavar="URL",
        action="append",
        default=[],
        type=_gateway_url,
        help="a gateway, by the URL that clients use; may be repeated",
    )
    parser.add_argument(
        "--origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="an origin whose pages use these gateways; may be repeated",
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        default="",
        help="a token to verify and explain, or - to read it from standard input",
    )
    parser.add_argument("--project", metavar="ID", default="", help="a project of that user")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="send an event of the project from the database to the gateways' sockets",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


async def _check(options: argparse.Namespace) -> int:
    settings = load_settings(CheckSettings, os.environ)
    configure_logging(settings.log_format, settings.log_level)
    if not (settings.database_url or settings.redis_url or options.gateway or options.token):
        raise UsageError(_NOTHING)
    tokens = TokenSettings(os.environ) if TokenSettings.are_in(os.environ) else None
    if options.token and tokens is None and not options.gateway:
        raise UsageError("--token needs a key to verify it, as JWT_SECRET, or a --gateway")
    config = None
    if settings.database_url is not None or settings.neverstale_config.exists():
        config = Config.parse(
            read_config(settings.neverstale_config), log_max_bytes=settings.log_max_bytes
        )
    project = options.project
    if config is not None and project:
        try:
            project = parse_id(project, config.access.project_type)
        except InvalidId as exc:
            raise UsageError(f"--project {exc}") from exc
    is_complete = settings.database_url and options.gateway and options.token and project
    if options.probe and not is_complete:
        raise UsageError(_PROBE_NEEDS)
    given = options.token
    token = given if given != "-" else sys.stdin.readline().strip()
    targets = Targets(options.gateway, options.origin, token, project, options.probe)
    report = await Examination(settings, config, tokens, targets).run()
    if options.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        _say(*report.lines())
        _say(*(f"note: {one.text}" for one in report.findings if one.severity == "note"))
        found = problems_of(report.findings)
        _say(*(f"neverstale: {one.text}" for one in found), is_error=True)
    return EXIT_FINE if report.is_fine else EXIT_FAILED


def _add_status_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gateway",
        metavar="URL",
        type=_gateway_url,
        help="ask this gateway, with ADMIN_KEY, instead of Redis",
    )
    parser.add_argument("--watch", action="store_true", help="show it again each second")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def _status_source(
    settings: StatusSettings, gateway: str | None
) -> Callable[[], Awaitable[Mapping[str, Any]]]:
    if gateway is not None:
        if settings.admin_key is None:
            raise UsageError("--gateway needs its ADMIN_KEY in the environment")
        key = settings.admin_key.get_secret_value()
        return lambda: read_from_gateway(gateway, key)
    if settings.redis_url is None:
        raise UsageError("set REDIS_URL, or name a --gateway")
    url = settings.redis_url.get_secret_value()
    return lambda: read_from_redis(
        url, settings.redis_prefix, is_cluster=settings.redis_cluster
    )


async def _status(options: argparse.Namespace) -> int:
    settings = load_settings(StatusSettings, os.environ)
    read = _status_source(settings, options.gateway)
    while True:
        status = await read()
        if options.watch and not options.json:
            print("\x1b[H\x1b[J", end="")  # clear the terminal (ECMA-48: CUP, ED)
        if options.json:
            print(json.dumps(status), flush=True)
        else:
            _say(*render_status(status))
        if not options.watch:
            return EXIT_FINE
        await asyncio.sleep(_WATCH_SECONDS)


def _gateway_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError("must start with http:// or https://")
    return text.rstrip("/")


def _say(*lines: str, is_error: bool = False) -> None:
    """Print lines. Names from elsewhere cannot start a new line or control the terminal."""
    for line in lines:
        print(
            escaped(line, limit=_MAX_LINE_CHARACTERS),
            file=sys.stderr if is_error else sys.stdout,
        )


_RUNNABLE: Final = {
    "check": (_add_check_options, _check),
    "status": (_add_status_options, _status),
}
