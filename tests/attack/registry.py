"""The definition of an attack: its attacker, its action and the bounds that must hold."""

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
    """Bounds in addition to those of all attacks: no loss, logins succeed, no process exits.

    ``ratio`` limits the victim's p99 with the attack over that without. It is None where a part
    is killed, or where thousands of simultaneous events are published one after another; then
    ``p99_ms`` limits the p99 itself. ``growth_mib`` limits each process's resident memory, and
    ``resets`` the number of resets of the victim. ``log_lines`` are those besides the ended
    connections that a gateway may log each second.
    """

    ratio: float | None = 3.0
    p99_ms: float | None = None
    growth_mib: float = 64.0
    resets: int | None = 0
    log_lines: int = 300


MANY_EVENTS: Final = Bounds(ratio=None, p99_ms=1000.0)


@dataclass(frozen=True)
class Attack:
    """One attack. ``before`` prepares it, ``during`` runs in the middle of it."""

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
    """Register a function as an attack. Its docstring says what it does and what must hold."""

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
