"""Command line of the listener: reads the environment and runs it, or a database command."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import asyncpg

from listener.app import Listener
from listener.bootstrap.discovery import UndecidedError, discover
from listener.bootstrap.first_access import describe_access
from listener.bootstrap.first_config import describe_discovery, render_config
from listener.bootstrap.init import NotWritten, describe_tables, write_new
from listener.capture.watches import (
    parse_watches,
    project_resources,
    resources_without_access,
)
from listener.commands import COMMANDS
from listener.leader.publication import PublicationRules
from listener.links.pg_link import PgLost, connect, rolled_back_transaction, translated_errors
from listener.settings import CommandSettings, ListenerSettings
from listener.setup.client_types import render_client_types
from listener.setup.install import (
    Config,
    InstallError,
    Plan,
    disable,
    install,
    print_sql,
    uninstall,
)
from shared.config.access_rules import ConfigError
from shared.config.config_file import read_config
from shared.config.settings import (
    ConfigFileSettings,
    DatabaseSettings,
    InvalidSettings,
    describe_settings,
    load_settings,
    warn_of_ignored,
)
from shared.runtime.lifecycle import (
    DESCRIBED_EXIT_CODES,
    EXIT_FAILED,
    EXIT_FINE,
    EXIT_WRONG_USAGE,
    FatalError,
    run_until_signalled,
)
from shared.runtime.logs import configure_logging
from shared.runtime.printable import escaped

_MAX_LINE_CHARACTERS: Final = 100_000
_RUN_TEXT: Final = "run a listener: the leader, or a standby that takes over if it fails"


def main() -> int:
    """Run ``python -m listener``. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m listener",
        description="Publishes committed changes in PostgreSQL as invalidations to Redis.",
        epilog=describe_settings(ListenerSettings) + "\n\n" + DESCRIBED_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command, text in {"run": f"{_RUN_TEXT} (the default)", **COMMANDS}.items():
        _add_options(commands.add_parser(command, help=text, **_described(command)), command)
    parser.set_defaults(command="run")  # without a command
    return _run(parser.parse_args())


def run_command(command: str, words: Sequence[str], *, prog: str) -> int:
    """Run one command with the options in *words*. Return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, **_described(command))
    _add_options(parser, command)
    return _run(parser.parse_args(words))


def _described(command: str) -> dict[str, Any]:
    kinds: dict[str, type[ConfigFileSettings]] = {
        "init": DatabaseSettings,
        "run": ListenerSettings,
        "types": ConfigFileSettings,
    }
    kind = kinds.get(command, CommandSettings)
    text = COMMANDS.get(command, _RUN_TEXT)
    return {
        "description": f"{text[0].upper()}{text[1:]}.",
        "epilog": describe_settings(kind) + "\n\n" + DESCRIBED_EXIT_CODES,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _add_options(parser: argparse.ArgumentParser, command: str) -> None:
    parser.set_defaults(command=command, owner=None, clear_raw_notify=False)
    if command == "types":
        parser.add_argument(
            "--output",
            metavar="PATH",
            help="the declaration file, which is replaced; - is standard output (the default)",
        )
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; exit with 1 if the file is not what would be written",
        )
    if command == "init":
        parser.add_argument("--projects", metavar="TABLE", help="the table of the projects")
        parser.add_argument(
            "--output",
            metavar="PATH",
            help="where to write the file; - is standard output (default: NEVERSTALE_CONFIG)",
        )
    if command in ("install", "sql"):
        parser.add_argument(
            "--owner",
            metavar="ROLE",
            help="the role that owns the trigger functions; it is created if there is none, "
            "and may only write the change log (default: their present owner, or the role that "
            "runs the first install)",
        )
    if command == "install":
        parser.add_argument(
            "--clear-raw-notify",
            action="store_true",
            help="forget that other producers have sent NOTIFYs (see check)",
        )


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    try:
        if command == "init":
            return asyncio.run(_init(arguments.projects, arguments.output))
        if command == "types":
            return _types(arguments.output, checks=arguments.check)
        settings = load_settings(
            ListenerSettings if command == "run" else CommandSettings, os.environ
        )
        configure_logging(settings.log_format, settings.log_level)
        warn_of_ignored(settings)
        document = read_config(settings.neverstale_config)
        config = Config.parse(document, log_max_bytes=settings.log_max_bytes)
        if isinstance(settings, ListenerSettings):
            publication_rules = PublicationRules(
                config.access,
                project_resources(config.watches),
                settings.replay_max_rows,
                resources_without_access(config.watches),
                frozenset(watch.resource for watch in config.watches),
            )
            return run_until_signalled(Listener(settings, publication_rules).run)
        return asyncio.run(
            _administer(
                command,
                settings,
                config,
                owner=arguments.owner,
                clears_raw_notify=arguments.clear_raw_notify,
            )
        )
    except (InvalidSettings, ConfigError) as exc:
        _complain(*exc.problems)
        return EXIT_WRONG_USAGE
    except (InstallError, NotWritten, UndecidedError, PgLost, FatalError) as exc:
        _complain(str(exc))
        return EXIT_FAILED
    except asyncpg.PostgresError as exc:  # an event trigger, a name in another encoding
        _complain(f"PostgreSQL refused a statement, nothing was changed: {exc}")
        return EXIT_FAILED


async def _init(projects: str | None, output: str | None) -> int:
    settings = load_settings(DatabaseSettings, os.environ)
    configure_logging(settings.log_format, settings.log_level)
    warn_of_ignored(settings)
    connection = await connect(
        settings.database_url.get_secret_value(), "neverstale command", timeout=10
    )
    try:
        async with translated_errors(), rolled_back_transaction(connection):
            tables = await describe_tables(connection)
    finally:
        await connection.close()
    found = discover(tables, projects=projects)
    if output == "-":
        print(render_config(found), end="")
        _say(*describe_discovery(found), to=sys.stderr)
    else:
        path = Path(output) if output else settings.neverstale_config
        write_new(path, render_config(found))
        _say(*describe_discovery(found))
        _say(f"written      {path}: review it, then run neverstale install")
    if not found.grants:
        _complain(describe_access(found))
    return EXIT_FINE


def _types(output: str | None, *, checks: bool) -> int:
    settings = load_settings(ConfigFileSettings, os.environ)
    text = render_client_types(parse_watches(read_config(settings.neverstale_config)))
    if output is None or output == "-":
        if checks:
            _complain("--check needs the file to check: write --output PATH")
            return EXIT_WRONG_USAGE
        print(text, end="")
        return EXIT_FINE
    path = Path(output)
    try:
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
            _say(f"{path} is up to date")
        elif checks:
            _complain(f"{path} is out of date: run neverstale types --output {path}")
            return EXIT_FAILED
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            _say(f"{path} is written")
    except OSError as exc:
        _complain(f"{path}: {exc.strerror}: name another file with --output PATH")
        return EXIT_FAILED
    return EXIT_FINE


async def _administer(
    command: str,
    settings: CommandSettings,
    config: Config,
    *,
    owner: str | None,
    clears_raw_notify: bool,
) -> int:
    connection = await connect(
        settings.database_url.get_secret_value(), "neverstale command", timeout=10
    )
    try:
        match command:
            case "install":
                plan = await install(
                    connection, config, owner=owner, clears_raw_notify=clears_raw_notify
                )
                _report(plan, config)
            case "disable":
                await disable(connection)
                print("disabled: no change is captured until neverstale install")
            case "uninstall":
                await uninstall(connection)
                print("removed: nothing is watched any more")
            case _:
                async with translated_errors():
                    _print_sql(await print_sql(connection, config, owner=owner))
    finally:
        await connection.close()
    return EXIT_FINE


def _report(plan: Plan, config: Config) -> None:
    for trigger in plan.create:
        _say(f"created  {trigger.name} on {trigger.table.sql}")
    for name in plan.drop:
        _say(f"dropped  {name}")
    print(f"{len(config.watches)} tables are watched")
    print(f"{len(plan.unchanged)} triggers already up to date")


def _complain(*problems: str) -> None:
    _say(*(f"neverstale: {problem}" for problem in problems), to=sys.stderr)


def _say(*lines: str, to: TextIO | None = None) -> None:
    """Print lines. Names from the database cannot start a new line or control the terminal."""
    for line in lines:
        print(escaped(line, limit=_MAX_LINE_CHARACTERS), file=to)


def _print_sql(text: str) -> None:
    """Print SQL exactly, so that it can be run; on a terminal its names are escaped."""
    if sys.stdout.isatty():
        text = escaped(text, limit=len(text), but="\n\t")
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
