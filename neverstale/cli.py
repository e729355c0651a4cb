"""The ``neverstale`` command: finds the program behind each subcommand and runs it.

A wheel keeps the packages ``listener``, ``gateway``, ``shared`` and ``deploy`` in the folder
``neverstale/_packages``, so that site-packages gets no top-level package with so common a name.
A checkout has them beside ``neverstale``.
"""

import argparse
import sys
from pathlib import Path
from typing import Final, NoReturn

from neverstale import __version__

_PACKAGES: Final = Path(__file__).parent / "_packages"
_PROGRAMS: Final = {
    "dev": "try Neverstale on a database of yours: Valkey, a listener and a gateway at once",
    "listener": "run a listener: the leader, or a standby that takes over if it fails",
    "gateway": "run a gateway, which serves WebSocket clients",
}
_EPILOG: Final = "`neverstale COMMAND --help` describes the options and settings of a command."


def main() -> int:
    """Run the subcommand that the command line names. Return its exit code."""
    # beside `neverstale` in a checkout, which an editable install does not put on the path
    sys.path.insert(0, str(_PACKAGES if _PACKAGES.is_dir() else _PACKAGES.parents[1]))
    from listener.commands import COMMANDS
    from operations.commands import COMMANDS as OPERATIONS

    command, words = (sys.argv[1:] or [""])[0], sys.argv[2:]
    prog = f"neverstale {command}"
    if command == "gateway":
        from gateway.__main__ import main as run_gateway

        return run_gateway(words, prog=prog)
    if command == "dev":
        from deploy.dev.command import main as run_dev

        return run_dev(words, prog=prog)
    if command == "listener" or command in COMMANDS:
        from listener.__main__ import run_command

        return run_command("run" if command == "listener" else command, words, prog=prog)
    if command in OPERATIONS:
        from operations.__main__ import run_command as run_operation

        return run_operation(command, words, prog=prog)
    return _explain({**COMMANDS, **OPERATIONS})


def _explain(commands: dict[str, str]) -> NoReturn:
    """Handle a command line that names no subcommand: ``--help``, ``--version`` or an error."""
    from shared.runtime.lifecycle import DESCRIBED_EXIT_CODES

    parser = argparse.ArgumentParser(
        prog="neverstale",
        description="Real-time cache invalidation for PostgreSQL apps: no client stays stale.",
        epilog=f"{_EPILOG}\n\n{DESCRIBED_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-V", "--version", action="version", version=f"neverstale {__version__}"
    )
    known = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in {**commands, **_PROGRAMS}.items():
        known.add_parser(name, help=text)
    parser.parse_args()
    parser.error("write the command first")  # after `--`, say
