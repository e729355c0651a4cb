"""Messages wait in order; too many of them become a reset."""

from neverstale.client.inbox import Inbox
from neverstale.client.messages import Reset, Status

RESET_OF_ALL = Reset(project_id=None, reason="lagged")


def reset(project_id: str) -> Reset:
    return Reset(project_id=project_id, reason="gap")


def test_messages_come_in_order_with_the_cursors_up_to_them() -> None:
    inbox = Inbox({"project:a": "1", "project:b": "1"}, 10)
    assert inbox.put(reset("a"), {"project:a": "2"})
    assert inbox.put(reset("b"), {"project:a": None, "project:b": "2"})
    assert inbox.put(Status(live=True), {})
    taken = [inbox.take() for _ in range(3)]
    assert taken == [reset("a"), reset("b"), Status(live=True)]
    assert [message.cursors for message in taken] == [
        {"project:a": "2", "project:b": "1"},
        {"project:b": "2"},
        {"project:b": "2"},
    ]
    assert not inbox


def test_too_many_messages_become_a_reset_that_has_the_newest_cursors() -> None:
    inbox = Inbox({"project:a": "1", "project:c": "1"}, 2)
    assert inbox.put(reset("a"), {"project:a": "2", "project:c": None})
    assert inbox.put(reset("b"), {"project:b": "1"})
    assert not inbox.put(reset("a"), {"project:a": "3"})
    assert len(inbox) == 1
    message = inbox.take()
    assert message == RESET_OF_ALL
    assert message.cursors == {"project:a": "3", "project:b": "1"}


def test_a_reset_for_too_many_messages_keeps_the_newest_status() -> None:
    inbox = Inbox({}, 2)
    older, newer = Status(live=False), Status(live=True, projects=frozenset("a"))
    assert inbox.put(older, {})
    assert inbox.put(newer, {})
    assert not inbox.put(reset("a"), {"project:a": "2"})
    taken = [inbox.take(), inbox.take()]
    assert taken == [RESET_OF_ALL, newer]
    assert all(message.cursors == {"project:a": "2"} for message in taken)


def test_an_app_that_never_reads_costs_no_more_than_the_limit() -> None:
    inbox = Inbox({}, 3)
    for number in range(1000):
        inbox.put(reset(str(number)), {"project:a": str(number)})
        inbox.put(Status(live=bool(number % 2)), {})
        assert len(inbox) <= 3
