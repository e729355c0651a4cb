"""Formats log lines, a constant message and fields, as JSON or as text for a terminal.

Fields contain text of foreign origin: headers, ids, error texts of servers. It is escaped and
bounded here, in one place.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import orjson

from shared.runtime.printable import escaped

MAX_ITEMS: Final = 50
MAX_EXCEPTION_CHARACTERS: Final = 16_000
log = logging.getLogger(__name__)

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_NEEDS_QUOTES: Final = frozenset(' "=')
# orjson rejects other numbers
_MIN_INT64: Final = -(2**63)
_MAX_INT64: Final = 2**63 - 1


def _printable(value: Any) -> Any:
    """Return the value for JSON, with each text in it escaped and bounded."""
    match value:
        case None | bool() | float():
            return value
        case int() if _MIN_INT64 <= value <= _MAX_INT64:
            return int(value)  # of an enum, its number
        case Mapping():
            items = list(value.items())[:MAX_ITEMS]
            return {escaped(str(key)): _printable(item) for key, item in items}
        case list() | tuple() | set() | frozenset():
            some = [_printable(item) for item in list(value)[:MAX_ITEMS]]
            return [*some, "..."] if len(value) > MAX_ITEMS else some
        case _:
            return escaped(str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {
        key: _printable(value) for key, value in record.__dict__.items() if key not in _STANDARD
    }


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 logging's name
        """Return the end of the traceback, escaped so that it cannot imitate log lines."""
        text = super().formatException(ei)[-MAX_EXCEPTION_CHARACTERS:]
        return escaped(text, limit=len(text), but="\n")


class JsonFormatter(_Formatter):
    """Formats a record as one line with a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escaped(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


class ConsoleFormatter(_Formatter):
    """Formats time, level, message and fields on one line, with a traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())
        head = f"{_at(record)[11:23]} {record.levelname.lower():7}"
        line = f"{head} {escaped(record.getMessage())} {fields}".rstrip()
        if record.exc_info:
            traceback = self.formatException(record.exc_info).replace("\n", "\n  ")
            line += f"\n  {traceback}"
        return line


def _quoted(value: Any) -> str:
    """Return the value as one word, so that it cannot look like another field."""
    if isinstance(value, str) and value and _NEEDS_QUOTES.isdisjoint(value):
        return value
    return orjson.dumps(value).decode()


def configure_logging(log_format: str, level: str) -> None:
    """Send all logging to standard error in one format ("json", "console", or "auto")."""
    if log_format == "auto":
        log_format = "console" if sys.stderr.isatty() else "json"
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Log an uncaught exception. Python itself would print its texts without escaping."""
    log.critical("failed unexpectedly", exc_info=(kind, error, traceback))
