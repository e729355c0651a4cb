import json
import logging
import subprocess
import sys

import pytest

from shared.protocol.close_codes import CloseCode
from shared.runtime.logs import ConsoleFormatter, JsonFormatter, configure_logging


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


HOSTILE = 'x\x1b[2J\nINFO forged\u202e \udcff" key=1 '


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_what_others_name_is_escaped_and_bounded(formatter: logging.Formatter) -> None:
    made = record()
    made.msg, made.args = "refused %s", (HOSTILE,)
    made.path, made.kids = HOSTILE + "y" * 10**6, [HOSTILE] * 10**4
    made.more, made.number = {HOSTILE: HOSTILE}, 2**80
    line = formatter.format(made)
    assert line.isprintable()
    assert len(line) < 10_000


def test_a_console_value_cannot_look_like_another_field() -> None:
    made = record()
    made.link, made.many = 'a b="c\\', ["x y", None]
    line = ConsoleFormatter().format(made)
    assert line.endswith(r'link="a b=\"c\\" many=["x y",null]')


def fail(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_a_traceback_cannot_pass_for_log_lines(formatter: logging.Formatter) -> None:
    made = record()
    try:
        fail(HOSTILE + "y" * 10**6)
    except ValueError as exc:
        made.exc_info = (ValueError, exc, exc.__traceback__)
    first, *rest = formatter.format(made).split("\n")
    assert "".join([first, *rest]).isprintable()
    assert all(each.startswith("  ") for each in rest)
    assert len(first) + len("".join(rest)) < 20_000


def test_an_uncaught_error_is_logged_like_any_other() -> None:
    program = "\n".join(
        (
            "from shared.runtime.logs import configure_logging",
            "configure_logging('json', 'info')",
            "raise ValueError('\\x1b[2J')",
        )
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    line = json.loads(ended.stderr)
    assert line["message"] == "failed unexpectedly"
    assert line["exception"].endswith("ValueError: \\u001b[2J")


@pytest.mark.parametrize(
    ("log_format", "kind"), [("auto", JsonFormatter), ("console", ConsoleFormatter)]
)
def test_the_format_is_chosen_by_setting_or_terminal(
    log_format: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # so that it is put back
    configure_logging(log_format, "error")
    assert isinstance(root.handlers[0].formatter, kind)
    assert root.level == logging.ERROR


def test_a_number_of_an_enum_is_logged_as_that_number() -> None:
    made = record()
    made.code, made.largest, made.larger = CloseCode.DRAINING, 2**63 - 1, 2**63
    line = json.loads(JsonFormatter().format(made))
    assert (line["code"], line["largest"], line["larger"]) == (1012, 2**63 - 1, str(2**63))
