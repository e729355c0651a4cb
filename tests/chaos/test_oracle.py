"""The oracle finds leaks, and does not report late events that are allowed."""

from typing import cast

import pytest

from tests.chaos.browser import Browser, ReceivedFrame
from tests.chaos.oracle import find_leaks
from tests.chaos.record import Record

ROW_KEY = ("p", "task", "t")


class _Listener:
    """The attributes of a browser that the oracle reads."""

    def __init__(self, told_at: float) -> None:
        frame = {
            "type": "cache_invalidate",
            "project_id": "p",
            "resource": "task",
            "data": {"id": "t"},
        }
        self.user = "u"
        self.received = [ReceivedFrame(told_at, frame)]
        self.plan = self
        self.name = "v1-0"


@pytest.mark.parametrize(
    ("sent_at", "told_at", "is_leak"),
    [(12.0, 20.0, False), (14.0, 20.0, True), (14.0, 31.0, False), (5.0, 9.0, False)],
    ids=["3 s of grace", "long after the loss", "has it again", "before the loss"],
)
def test_only_what_was_committed_long_after_the_loss_is_a_leak(
    sent_at: float, told_at: float, *, is_leak: bool
) -> None:
    clock = 0.0
    record = Record(lambda: clock)
    record.saw_access({("p", "u")}, sent_at=0.0)
    clock = sent_at
    record.sent("update", [ROW_KEY])
    clock = 10.0
    record.saw_access(set(), sent_at=9.9)
    record.saw_access({("p", "u")}, sent_at=30.0)
    leaks = find_leaks([cast(Browser, _Listener(told_at))], record)
    assert bool(leaks) == is_leak


def test_an_event_for_a_user_who_never_had_the_project_is_a_leak() -> None:
    record = Record(lambda: 50.0)
    record.sent("update", [ROW_KEY])
    assert find_leaks([cast(Browser, _Listener(51.0))], record)
