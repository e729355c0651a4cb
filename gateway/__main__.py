"""Command line of the gateway: reads the environment and runs ``app.run_gateway``."""

import argparse
import asyncio
import os
import sys
import warnings
from collections.abc import Sequence

from jwt.warnings import InsecureKeyLengthWarning

from gateway.app import run_gateway
from gateway.configured_keys import open_key_source
from gateway.settings import GatewaySettings
from gateway.workers.supervisor import Worker, supervise
from shared.config.access_rules import ConfigError, parse_access
from shared.config.config_file import read_config
from shared.config.settings import (
    InvalidSettings,
    describe_settings,
    load_settings,
    warn_of_ignored,
)
from shared.runtime.lifecycle import (
    DESCRIBED_EXIT_CODES,
    EXIT_FAILED,
    EXIT_WRONG_USAGE,
    FatalError,
    log_fatal,
    run_until_signalled,
)
from shared.runtime.logs import configure_logging
from shared.runtime.printable import escaped


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m gateway") -> int:
    """Run a gateway with the command line *argv* (default: the process's).

    Return the exit code.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Sends WebSocket clients the events of their projects.",
        epilog=describe_settings(GatewaySettings) + "\n\n" + DESCRIBED_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", nargs="?", default="run", choices=["run"], help="serve (the default)"
    )
    parser.parse_args(argv)
    # A 32-byte secret is as strong for HS512 as for HS256: silence PyJWT's key-length warning.
    warnings.simplefilter("ignore", InsecureKeyLengthWarning)
    try:
        settings = load_settings(GatewaySettings, os.environ)
        configure_logging(settings.log_format, settings.log_level)
        warn_of_ignored(settings)
        keys = open_key_source(settings)
        rules = parse_access(read_config(settings.neverstale_config))
    except (InvalidSettings, ConfigError) as exc:
        for problem in exc.problems:
            print(f"neverstale gateway: {escaped(problem)}", file=sys.stderr)
        return EXIT_WRONG_USAGE

    def work(worker: Worker | None = None) -> int:
        async def service(stop: asyncio.Event) -> None:
            if worker is not None:
                worker.follow_supervisor(stop)
            await run_gateway(settings, keys, rules, stop, worker)

        return run_until_signalled(service)

    if settings.workers == 1:
        return work()
    try:
        return supervise(settings.workers, settings.host, settings.port, work)
    except FatalError as exc:
        log_fatal(exc)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
