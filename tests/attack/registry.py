"""What an attack is: who plays it, how, and what must hold meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tests.attack.peer import Peer
from tests.attack.scene import Scene

ANONYMOUS: Final = "anonymous peer"
USER: Final = "user with a token"
CONNECT: Final = "database role with CONNECT"
USAGE: Final = "database role with usage"
WRITES: Final = "database role with writes"
REDIS: Final = "whoever reaches Redis"

Play: TypeAlias = Callable[[Peer], Awaitable[None]]
Prepare: TypeAlias = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Bounds:
    """What must hold beside what always must: nothing is lost, logins succeed, no process ends.

    ``ratio`` is of the victim's p99 with and without the attack. None where a part is killed,
    or where thousands of events come at once, which are published one after another: then
    ``p99_ms`` is of the p99 itself. ``growth_mib`` is of each process's resident memory,
    ``resets`` of how many the victim may get.
    """

    ratio: float | None = 3.0
    p99_ms: float | None = None
    growth_mib: float = 64.0
    resets: int | None = 0
    log_lines: int = 300


MANY_EVENTS: Final = Bounds(ratio=None, p99_ms=1000.0)


@dataclass(frozen=True)
class Attack:
    """One attack. ``during`` is what else happens in its midst, ``before`` what it needs."""

    name: str
    who: str
    what: str
    play: Play
    bounds: Bounds
    settings: Mapping[str, str] = field(default_factory=dict)
    before: Prepare | None = None
    during: Prepare | None = None
    standby: bool = False
    max_files: int | None = None


def attack(
    who: str,
    *,
    bounds: Bounds = Bounds(),
    settings: Mapping[str, str] | None = None,
    before: Prepare | None = None,
    during: Prepare | None = None,
    standby: bool = False,
    max_files: int | None = None,
) -> Callable[[Play], Attack]:
    """Make an attack of a function, whose docstring says what it does and what must hold."""

    def make(play: Play) -> Attack:
        name, what = getattr(play, "__name__", ""), play.__doc__ or ""
        return Attack(
            name,
            who,
            " ".join(what.split()),
            play,
            bounds,
            dict(settings or {}),
            before,
            during,
            standby,
            max_files,
        )

    return make
