"""What a stack keeps in ``.dev``: its lock, its secret, what it says of itself."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jwt

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".dev"
TOKEN_SECONDS: Final = 30 * 24 * 3600
USERS: Final = {
    "ada": "0000ada0-0000-4000-8000-000000000001",
    "grace": "0000ace0-0000-4000-8000-000000000002",
}
APOLLO: Final = "a9011000-0000-4000-8000-000000000001"
TASK: Final = "7a500000-0000-4000-8000-000000000001"
_LOCK_FILE: Final = FOLDER / "lock"
_STACK_FILE: Final = FOLDER / "stack.json"
_SECRET_FILE: Final = FOLDER / "jwt_secret"


class StackFailed(Exception):
    """The stack can't run or be used; the text says why and what to do."""


@contextmanager
def claim() -> Iterator[None]:
    """The checkout's lock, held. Raises ``StackFailed`` if a stack runs here."""
    FOLDER.mkdir(exist_ok=True)
    lock = os.open(_LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(lock):
            raise StackFailed("another `make dev` of this checkout is running: stop it first")
        _STACK_FILE.unlink(missing_ok=True)
        try:
            yield
        finally:
            _STACK_FILE.unlink(missing_ok=True)
    finally:
        os.close(lock)


def describe_stack(description: dict[str, Any]) -> None:
    """Say where the stack is to the commands that use it."""
    _write_private(_STACK_FILE, json.dumps(description))


def read_stack() -> dict[str, Any]:
    """What the running stack says of itself. Raises ``StackFailed`` if none runs."""
    try:
        lock = os.open(_LOCK_FILE, os.O_RDWR)
        try:
            if _take(lock):  # what a killed stack said of itself may still lie there
                raise FileNotFoundError
        finally:
            os.close(lock)
    except FileNotFoundError as exc:
        raise StackFailed("no stack is running here: start one with `make dev`") from exc
    try:
        described: dict[str, Any] = json.loads(_STACK_FILE.read_text())
    except FileNotFoundError as exc:
        raise StackFailed("the stack is still starting (or stopping): try again") from exc
    return described


def mint_token(user: str, secret: str) -> str:
    """A token of a demo user."""
    expires = int(time.time()) + TOKEN_SECONDS
    return jwt.encode({"sub": USERS[user], "exp": expires}, secret, algorithm="HS256")


def read_secret() -> str:
    """What the tokens are signed with; made once, so that they outlive a restart."""
    if not _SECRET_FILE.exists():
        _write_private(_SECRET_FILE, secrets.token_urlsafe(32))
    return _SECRET_FILE.read_text()


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and for this user alone."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
