import json
import logging

import pytest

from shared.logs import ConsoleFormatter, JsonFormatter, configure_logging


def record(*, failed: bool = False) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": "link lost", "name": "x", "levelname": "WARNING"})
    made.created = 1764000000.25
    made.link = "redis"
    if failed:
        try:
            int("seven")
        except ValueError as exc:
            made.exc_info = (ValueError, exc, exc.__traceback__)
    return made


def test_a_json_line_has_message_and_fields() -> None:
    line = json.loads(JsonFormatter().format(record(failed=True)))
    assert "ValueError: invalid literal" in line.pop("exception")
    assert line == {
        "at": "2025-11-24T16:00:00.250+00:00",
        "level": "warning",
        "logger": "x",
        "message": "link lost",
        "link": "redis",
    }


def test_a_console_line_is_for_people() -> None:
    assert ConsoleFormatter().format(record()) == "16:00:00.250 warning link lost link=redis"
    assert "ValueError: invalid literal" in ConsoleFormatter().format(record(failed=True))


@pytest.mark.parametrize(
    ("log_format", "kind"), [("auto", JsonFormatter), ("console", ConsoleFormatter)]
)
def test_the_format_is_chosen_by_setting_or_terminal(
    log_format: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "root", root)
    configure_logging(log_format, "error")
    assert isinstance(root.handlers[0].formatter, kind)
    assert root.level == logging.ERROR
