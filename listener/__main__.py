"""``python -m listener``: the composition root, and the only reader of the environment."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final, TextIO

import asyncpg

from listener.app import Listener
from listener.bootstrap.discovery import UndecidedError, discover
from listener.bootstrap.first_access import describe_access
from listener.bootstrap.first_config import describe_discovery, render_config
from listener.bootstrap.init import NotWritten, describe_tables, write_new
from listener.capture.watches import project_resources
from listener.leader.publication import PublicationRules
from listener.links.pg_link import PgLost, connect, rolled_back_transaction, telling_loss
from listener.settings import CommandSettings, ListenerSettings
from listener.setup.check import check
from listener.setup.install import (
    Config,
    InstallError,
    Plan,
    disable,
    install,
    print_sql,
    uninstall,
)
from shared.config.access_rules import AccessRules, ConfigError
from shared.config.config_file import read_config
from shared.config.settings import (
    DatabaseSettings,
    InvalidSettings,
    describe_settings,
    load_settings,
    warn_of_ignored,
)
from shared.runtime.lifecycle import (
    EXIT_FAILED,
    EXIT_FINE,
    EXIT_WRONG_USAGE,
    FatalError,
    run_until_signalled,
)
from shared.runtime.logs import configure_logging
from shared.runtime.printable import escaped

_MAX_LINE_CHARACTERS: Final = 100_000
_COMMANDS = {
    "run": "lead, or stand by for the leader (the default)",
    "init": "write a first invalidation.toml from the database (needs DATABASE_URL alone)",
    "install": "create or update the change log and the triggers, in one transaction",
    "check": "compare the database with the file; exit 1, and what to do, where they differ",
    "disable": "stop capture at once (the app is in trouble); install starts it again",
    "uninstall": "remove all of it",
    "sql": "print what install does, for use in migrations",
}


def main() -> int:
    """The exit code: 0 fine, 1 failed, 2 wrong usage or settings."""
    parser = _make_parser()
    arguments = parser.parse_args()
    command = arguments.command
    if command != "init" and (arguments.projects or arguments.output):
        parser.error("--projects and --output go with init")
    if command not in ("install", "sql") and arguments.owner:
        parser.error("--owner goes with install and sql")
    if command != "install" and arguments.clear_raw_notify:
        parser.error("--clear-raw-notify goes with install")
    try:
        if command == "init":
            configure_logging("auto", "warning")
            return asyncio.run(_init(arguments.projects, arguments.output))
        settings = load_settings(
            ListenerSettings if command == "run" else CommandSettings, os.environ
        )
        configure_logging(settings.log_format, settings.log_level)
        warn_of_ignored(settings)
        document = read_config(settings.neverstale_config)
        config = Config.parse(document, log_max_bytes=settings.log_max_bytes)
        rules = config.access
        if isinstance(settings, ListenerSettings):
            publication_rules = PublicationRules(
                rules, project_resources(config.watches), settings.replay_max_rows
            )
            return run_until_signalled(Listener(settings, publication_rules).run)
        return asyncio.run(
            _administer(
                command,
                settings,
                config,
                rules,
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


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m listener",
        description="Turns committed changes in PostgreSQL into invalidations in Redis.",
        epilog="commands:\n"
        + "\n".join(f"  {name:10} {text}" for name, text in _COMMANDS.items())
        + "\n\n"
        + describe_settings(ListenerSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", nargs="?", default="run", choices=list(_COMMANDS), help="see below"
    )
    parser.add_argument("--projects", metavar="TABLE", help="init: the table of the projects")
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="init: where to write (default: NEVERSTALE_CONFIG), or -",
    )
    parser.add_argument(
        "--owner",
        metavar="ROLE",
        help="install, sql: the role that trigger functions belong to (it can do nothing but "
        "write the change log, and is created if there is none); default: their owner, at "
        "first the role that installs",
    )
    parser.add_argument(
        "--clear-raw-notify",
        action="store_true",
        help="install: forget that others have sent NOTIFYs (see check)",
    )
    return parser


async def _init(projects: str | None, output: str | None) -> int:
    settings = load_settings(DatabaseSettings, os.environ)
    warn_of_ignored(settings)
    connection = await connect(
        settings.database_url.get_secret_value(), "neverstale command", timeout=10
    )
    try:
        async with telling_loss(), rolled_back_transaction(connection):
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
        _say(f"written      {path}: review it, then run python -m listener install")
    if not found.is_heard:
        _complain(describe_access(found))
    return EXIT_FINE


async def _administer(
    command: str,
    settings: CommandSettings,
    config: Config,
    rules: AccessRules,
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
            case "check":
                async with telling_loss(), rolled_back_transaction(connection):
                    found = await check(connection, config, rules)
                _say(*(f"note: {note}" for note in found.notes))
                _complain(*found.problems)
                if found.problems:
                    return EXIT_FAILED
                print(f"{len(config.watches)} tables are watched as the file says")
            case "disable":
                await disable(connection)
                print("disabled: no change is captured until python -m listener install")
            case "uninstall":
                await uninstall(connection)
                print("removed: nothing is watched any more")
            case _:
                async with telling_loss():
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
    _say(*(f"neverstale listener: {problem}" for problem in problems), to=sys.stderr)


def _say(*lines: str, to: TextIO | None = None) -> None:
    """Print lines; what the database named can't start another one, or command a terminal."""
    for line in lines:
        print(escaped(line, limit=_MAX_LINE_CHARACTERS), file=to)


def _print_sql(text: str) -> None:
    """Print it exactly, so that it can be run; on a terminal names are escaped instead."""
    if sys.stdout.isatty():
        text = escaped(text, limit=len(text), but="\n\t")
    print(text, end="")


if __name__ == "__main__":
    sys.exit(main())
