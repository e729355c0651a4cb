"""Checks the files that a connection URL names for TLS."""

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.links.urls import InvalidUrl


def check_files(files: Mapping[str, str], make_context: Callable[[], object]) -> None:
    """Find out at the start, not at the first connection, whether they can be used.

    Raises:
        InvalidUrl: it says which parameter names what can't be read.
    """
    for name, path in files.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as exc:
            raise InvalidUrl(
                f"has an {name} that can't be read: {path}: {exc.strerror}"
            ) from exc
    try:
        make_context()
    except (OSError, ValueError) as exc:  # of OpenSSL, which names neither file nor parameter
        named = ", ".join(files) or "parameters"
        raise InvalidUrl(f"has {named} that TLS can't be set up with: {exc}") from exc
