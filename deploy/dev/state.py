"""What a development stack keeps on disk: its lock, its secret and the description of it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class StackFailed(Exception):
    """The stack can't run or be used; the text says why and what to do."""


class StateFolder:
    """The folder of one development stack, which the command *started_by* starts."""

    def __init__(self, path: Path, *, started_by: str) -> None:
        self.path = path
        self._started_by = started_by
        self._lock_file = path / "lock"
        self._stack_file = path / "stack.json"
        self._secret_file = path / "jwt_secret"

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder's lock. Raises ``StackFailed`` if another stack holds it."""
        self.path.mkdir(exist_ok=True)
        (self.path / ".gitignore").write_text("*\n")  # it holds a secret, and no sources
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _take(lock):
                raise StackFailed(
                    f"another `{self._started_by}` is running in this folder: stop it first"
                )
            self._stack_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self._stack_file.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def write_description(self, description: dict[str, Any]) -> None:
        """Publish addresses and keys of the running stack to the commands that use it."""
        _write_private(self._stack_file, json.dumps(description))

    def read_description(self) -> dict[str, Any]:
        """Return what the running stack has published. Raises ``StackFailed`` if none runs."""
        try:
            lock = os.open(self._lock_file, os.O_RDWR)
            try:
                if _take(lock):  # a killed stack leaves its description behind
                    raise FileNotFoundError
            finally:
                os.close(lock)
        except FileNotFoundError as exc:
            raise StackFailed(
                f"no stack is running in this folder: start one with `{self._started_by}`"
            ) from exc
        try:
            described: dict[str, Any] = json.loads(self._stack_file.read_text())
        except FileNotFoundError as exc:
            raise StackFailed("the stack is still starting (or stopping): try again") from exc
        return described

    def secret(self) -> str:
        """Return the secret that tokens are signed with. It is kept, so tokens stay valid."""
        if not self._secret_file.exists():
            _write_private(self._secret_file, secrets.token_urlsafe(32))
        return self._secret_file.read_text()


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only this user may read it."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
