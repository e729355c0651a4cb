"""Scenarios, decided up front by their seed: browsers, writes and faults with their times."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from tests.chaos.kinds import (
    ACCESS_WRITES,
    BROWSER_FAULTS,
    GATEWAYS,
    LINK_FAULTS,
    PART_FAULTS,
    PARTS,
    ROW_WRITES,
    Fault,
    all_faults,
    links,
    server_faults,
)

USERS: Final = 4
PROJECTS: Final = 4
WRITERS: Final = 4
ROUND_SECONDS: Final = 8.0
PAIRED: Final = 0.4

Style: TypeAlias = Literal["rows", "lists"]
BrowserKind: TypeAlias = Literal["v1", "plain", "python", "stream"]
BROWSERS: Final[Sequence[BrowserKind]] = (
    "v1",
    "stream",
    "stream",
    "stream",
    "plain",
    "plain",
    "python",
    "stream",
)

_TRUNCATE_CHANCE: Final = 0.15  # per round; each is a reset of everything, which hides the rest


@dataclass(frozen=True)
class Write:
    """One planned write. What the numbers mean depends on ``kind``; ``pick`` chooses rows."""

    at: float
    kind: str
    project: int
    other: int
    user: int
    pick: int
    seconds: float


@dataclass(frozen=True)
class BrowserPlan:
    """A plain client follows one project, its ``home``; the others follow all of their user's.

    One of kind ``stream`` gets server-sent events, the others have WebSockets: ``python`` is
    made with ``neverstale.client``.
    """

    name: str
    user: int
    kind: BrowserKind
    home: int
    style: Style
    uses_age: bool
    gateway: int

    @property
    def is_v1(self) -> bool:
        """Whether it gets v1 frames."""
        return self.kind != "plain"


@dataclass(frozen=True)
class Round:
    """What happens between two quiet points. Times are seconds from the round's start."""

    faults: Sequence[Fault]
    writers: Sequence[Sequence[Write]]


@dataclass(frozen=True)
class Scenario:
    """``skew_seconds``: how far the last gateway's clock is ahead."""

    seed: int
    owners: Sequence[int]
    members: frozenset[tuple[int, int]]
    browsers: Sequence[BrowserPlan]
    replay_max_rows: int
    slow_client_seconds: int
    skew_seconds: float
    rounds: Sequence[Round]
    is_cluster: bool = False


@dataclass(frozen=True)
class _Faults:
    """Which faults are planned: of which servers, and with which words."""

    is_cluster: bool
    only: Sequence[str]

    def has(self, fault: Fault) -> bool:
        return not self.only or any(word in str(fault) for word in self.only)


def plan_scenario(
    seed: int,
    *,
    seconds: float,
    faults: int,
    only: Sequence[str] = (),
    is_cluster: bool = False,
) -> Scenario:
    """Return the scenario of a seed: *seconds* of activity with *faults* faults in all.

    *only*: faults whose description has one of these words. *is_cluster*: Redis is a cluster.

    Raises:
        ValueError: no fault has any of the words.
    """
    wanted = _Faults(is_cluster, only)
    if not any(wanted.has(fault) for fault in all_faults(is_cluster=is_cluster)):
        raise ValueError(f"no fault has any of these words: {', '.join(only)}")
    random_ = random.Random(seed)
    browsers = _plan_browsers(random_)
    count = max(1, round(seconds / ROUND_SECONDS))
    shares = [faults // count + (number < faults % count) for number in range(count)]
    owners = [random_.randrange(USERS) for _ in range(PROJECTS)]
    members = frozenset(
        (project, user)
        for project in range(PROJECTS)
        for user in range(USERS)
        if random_.random() < 0.55
    )
    homes = {browser.name: browser.home for browser in browsers}
    return Scenario(
        seed,
        owners,
        members,
        browsers,
        replay_max_rows=random_.choice((20, 200, 1000)),
        slow_client_seconds=random_.choice((3, 30)),
        skew_seconds=random.Random(f"{seed} clock").choice((0.0, 0.0, -86_400.0, 3_600.0)),
        rounds=[
            _plan_round(random_, seconds / count, share, homes, wanted) for share in shares
        ],
        is_cluster=is_cluster,
    )


def _plan_browsers(random_: random.Random) -> list[BrowserPlan]:
    return [
        BrowserPlan(
            name=f"{kind}-{number}",
            user=number % USERS,
            kind=kind,
            home=random_.randrange(PROJECTS),
            style="lists" if random_.random() < 0.25 else "rows",
            uses_age=kind != "plain" and random_.random() < 0.4,
            gateway=random_.randrange(len(GATEWAYS)),
        )
        for number, kind in enumerate(BROWSERS)
    ]


def _plan_round(
    random_: random.Random,
    seconds: float,
    faults: int,
    homes: Mapping[str, int],
    wanted: _Faults,
) -> Round:
    planned: list[Fault] = []
    while len(planned) < faults:
        at = random_.uniform(0.2, seconds * 0.75)
        planned.append(_plan_fault(random_, at, list(homes), wanted))
        if random_.random() < PAIRED and len(planned) < faults:
            close_by = at + random_.choice(
                (0.0, random_.uniform(0, 0.3), random_.uniform(0, 2))
            )
            planned.append(_plan_fault(random_, close_by, list(homes), wanted))
    writers = [_plan_writes(random_, seconds, ACCESS_WRITES, mean_pause=0.9)]
    writers += [
        _plan_writes(random_, seconds, ROW_WRITES, mean_pause=0.12) for _ in range(WRITERS - 1)
    ]
    # enough events that a browser that does not read is closed as a slow consumer
    extra = [
        replace(_plan_write(random_, fault.at + 0.1, "burst"), project=homes[fault.target])
        for fault in planned
        if fault.kind == "slow"
    ]
    if random_.random() < _TRUNCATE_CHANCE:
        extra.append(_plan_write(random_, random_.uniform(0, seconds), "truncate"))
    writers[1] = sorted([*writers[1], *extra], key=lambda each: each.at)
    return Round(sorted(planned, key=lambda fault: fault.at), writers)


def _plan_fault(
    random_: random.Random, at: float, browsers: Sequence[str], wanted: _Faults
) -> Fault:
    while True:
        group, targets = random_.choices(
            (
                (PART_FAULTS, PARTS),
                (server_faults(is_cluster=wanted.is_cluster), ("",)),
                (LINK_FAULTS, links(is_cluster=wanted.is_cluster)),
                (BROWSER_FAULTS, browsers),
            ),
            (5, 5, 6, 3),
        )[0]
        seconds = random_.choice((random_.uniform(0.05, 1.0), random_.uniform(1.0, 7.0)))
        fault = Fault(at, _draw(random_, group), random_.choice(targets), seconds)
        if wanted.has(fault):
            return fault


def _plan_writes(
    random_: random.Random, seconds: float, kinds: dict[str, int], *, mean_pause: float
) -> list[Write]:
    writes, at = [], random_.uniform(0, mean_pause)
    while at < seconds:
        writes.append(_plan_write(random_, at, _draw(random_, kinds)))
        at += random_.expovariate(1 / mean_pause)
    return writes


def _plan_write(random_: random.Random, at: float, kind: str) -> Write:
    project, other = random_.sample(range(PROJECTS), 2)
    return Write(
        at,
        kind,
        project,
        other,
        user=random_.randrange(USERS),
        pick=random_.randrange(2**31),
        seconds=random_.uniform(0.3, 4.0),
    )


def _draw(random_: random.Random, kinds: Mapping[str, int]) -> str:
    return random_.choices(list(kinds), list(kinds.values()))[0]
