"""Checks the files that a connection URL names for TLS."""

from collections.abc import Callable, Mapping
from pathlib import Path

from shared.links.urls import InvalidUrl


def check_files(files: Mapping[str, str], make_context: Callable[[], object]) -> None:
    """Check at the start, not at the first connection, that the files can be used.

    Raises:
        InvalidUrl: a file is unreadable or unusable; the text names its parameter.
    """
    for name, path in files.items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as exc:
            raise InvalidUrl(
                f"has an {name} that cannot be read: {path}: {exc.strerror}"
            ) from exc
    try:
        make_context()
    except (
        OSError,
        ValueError,
    ) as exc:  # OpenSSL's errors name neither the file nor the parameter
        named = ", ".join(files) or "parameters"
        raise InvalidUrl(f"has {named} that TLS cannot use: {exc}") from exc
