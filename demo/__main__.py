"""Command line of the demo: reads the environment and runs ``app.run_demo``."""

import argparse
import asyncio
import os
import sys

from demo.app import run_demo
from demo.settings import DemoSettings
from shared.config.settings import (
    InvalidSettings,
    describe_settings,
    load_settings,
    warn_of_ignored,
)
from shared.runtime.lifecycle import EXIT_WRONG_USAGE, run_until_signalled
from shared.runtime.logs import configure_logging


def main() -> int:
    """Run ``python -m demo``. Return the exit code."""
    argparse.ArgumentParser(
        prog="python -m demo",
        description="Serves a project board that uses Neverstale: its API and its page.",
        epilog=describe_settings(DemoSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = load_settings(DemoSettings, os.environ)
    except InvalidSettings as exc:
        for problem in exc.problems:
            print(f"neverstale demo: {problem}", file=sys.stderr)
        return EXIT_WRONG_USAGE
    configure_logging(settings.log_format, settings.log_level)
    warn_of_ignored(settings)

    async def service(stop: asyncio.Event) -> None:
        await run_demo(settings, stop)

    return run_until_signalled(service)


if __name__ == "__main__":
    sys.exit(main())
