"""Checks a scenario: no stale rows, no missed changes, no events without access."""

import bisect
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from tests.chaos.browser import Browser, ReceivedFrame
from tests.chaos.cache import Loads
from tests.chaos.pages import load_access, load_list, load_page
from tests.chaos.record import Change, Record, RowKey
from tests.support.database import Database

GRACE_SECONDS: Final = 3.0
_SHOWN: Final = 4


@dataclass
class Share:
    """How many changes were delivered by their event and how many by a reset."""

    by_event: int = 0
    by_reset: int = 0


async def find_stale(database: Database, browsers: Sequence[Browser]) -> list[str]:
    """Return the differences between browsers and the database; empty if nothing is stale."""
    access = await load_access(database)
    problems = []
    for browser in browsers:
        if browser.plan.is_v1:
            problems += await _stale_of_v1(database, browser)
        else:
            problems += await _stale_of_plain(database, browser, access)
    return problems


async def _stale_of_v1(database: Database, browser: Browser) -> list[str]:
    name = browser.plan.name
    if not browser.is_greeted:
        return [f"{name} is not connected"]
    listed = await load_list(database, browser.user)
    problems = []
    if browser.cache.list != listed:
        problems.append(f"{name} holds another list of projects")
    if browser.subscribed != set(listed):
        odd = browser.subscribed ^ set(listed)
        problems.append(f"{name} is not subscribed to what it may see: {sorted(odd)}")
    for project in listed:
        problems += await _stale_rows(database, browser, project)
    return problems


async def _stale_of_plain(
    database: Database, browser: Browser, access: set[tuple[str, str]]
) -> list[str]:
    may_see = (browser.home, browser.user) in access
    if may_see != browser.is_greeted:
        told = "is not connected" if may_see else "is connected, though it lost the project"
        return [f"{browser.plan.name} {told}"]
    return await _stale_rows(database, browser, browser.home) if may_see else []


async def _stale_rows(database: Database, browser: Browser, project: str) -> list[str]:
    truth = (await load_page(database, project, browser.user)).rows or {}
    held = browser.cache.rows.get(project)
    if held is None:
        return [f"{browser.plan.name} holds a refusal of {project}"]
    stale = [row for row in {*truth, *held} if truth.get(row) != held.get(row)]
    stale.sort()
    return [f"{browser.plan.name} is stale: {row} of {project}" for row in stale]


class ReceivedEvents:
    """When a browser received which events."""

    def __init__(self, browser: Browser) -> None:
        self.events: dict[RowKey, list[float]] = defaultdict(list)
        for received in browser.received:
            frame = received.frame
            if frame["type"] == "cache_invalidate":
                row_key = (frame["project_id"], frame["resource"], frame["data"]["id"])
                self.events[row_key].append(received.at)

    def first_event(self, row_key: RowKey, since: float) -> float | None:
        return _first(self.events.get(row_key, ()), since)


def find_missed(
    browsers: Sequence[Browser], record: Record, since: float, share: Share
) -> list[str]:
    """Return changes that a browser missed although its user had access all the time.

    Stricter than looking for stale rows: a later change of the same row hides nothing.
    """
    changes = list(record.acknowledged_since(since))
    problems: list[str] = []
    for browser in browsers:
        told = ReceivedEvents(browser)
        for change in changes:
            owed = [p for p in change.row_keys if _is_owed(browser, record, p[0], since)]
            if owed:
                problems += _judge(browser, told, change, owed, share)
    return problems


def _is_owed(browser: Browser, record: Record, project: str, since: float) -> bool:
    pair = (project, browser.user)
    is_shown = browser.plan.is_v1 or project == browser.home
    is_steady = record.access_changed_at.get(pair, 0.0) < since
    return is_shown and is_steady and pair in record.access


def _judge(
    browser: Browser,
    told: ReceivedEvents,
    change: Change,
    row_keys: Sequence[RowKey],
    share: Share,
) -> list[str]:
    assert change.acked_at is not None
    missed, is_precise = [], True
    for row_key in row_keys:
        loads = browser.cache.loads.get(row_key[0], Loads())
        event = told.first_event(row_key, change.sent_at)
        reset = _first(loads.marked, change.sent_at)
        is_precise = is_precise and event is not None and (reset is None or event <= reset)
        is_loaded = _first(loads.began, change.acked_at) is not None
        if event is None and reset is None and not is_loaded:
            missed.append(row_key)
    share.by_event += is_precise
    share.by_reset += not is_precise
    made = f"changed by a {change.kind} at {change.sent_at:.3f}"
    return [f"{browser.plan.name} never received {row_key}, {made}" for row_key in missed]


class Receiver(Protocol):
    """A client with the frames that it received."""

    @property
    def name(self) -> str: ...

    @property
    def user(self) -> str: ...

    @property
    def received(self) -> Sequence[ReceivedFrame]: ...


def find_leaks(receivers: Sequence[Receiver], record: Record) -> list[str]:
    """Return events of changes committed more than ``GRACE_SECONDS`` after access was lost.

    An event is a leak only if every change it may stand for is one: changes committed up to
    ``GRACE_SECONDS`` after the loss may still be delivered.
    """
    problems = []
    for receiver in receivers:
        for received in receiver.received:
            frame = received.frame
            if frame["type"] != "cache_invalidate":
                continue
            project = frame["project_id"]
            absence = record.absence_at((project, receiver.user), received.at)
            row_key = (project, frame["resource"], frame["data"]["id"])
            changes = [c for c in record.by_row.get(row_key, ()) if c.sent_at < received.at]
            if absence is None or not changes:
                continue
            if all(change.sent_at > absence.since + GRACE_SECONDS for change in changes):
                problems.append(
                    f"{receiver.name} received an event of {row_key} at {received.at:.3f},"
                    f" without access since {absence.since:.3f}"
                )
    return problems


def shorten(problems: Sequence[str]) -> list[str]:
    """Return the first few, and how many more there are."""
    more = len(problems) - _SHOWN
    return [*problems[:_SHOWN], *([f"... and {more} more"] if more > 0 else ())]


def _first(times: Sequence[float], since: float) -> float | None:
    at = bisect.bisect_left(times, since)
    return times[at] if at < len(times) else None
