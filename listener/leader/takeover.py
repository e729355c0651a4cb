"""When a standby replaces the leader, and when a leader waits for another database's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PATIENCE_SECONDS: Final = 5.0
# More than a standby's patience: as long as the other database has listeners, it has a leader.
OWNER_PATIENCE_SECONDS: Final = 10.0
_MAX_UNSEEN_SECONDS: Final = 3.0


@dataclass(slots=True)
class LeaderWatch:
    """When a standby ends the leader's session: its process is frozen, or it is cut off.

    A leader shows a new sign of life in Redis each second, once PostgreSQL has answered it. The
    clock runs only while the standby sees the signs: with another holder of the lock, a look
    that failed, or too long between two, it starts anew, so that no outage of Redis, and no
    freeze of the standby, ends a healthy leader.
    """

    _seen: tuple[int, str] | None = None
    _since: float = 0.0
    _looked_at: float = 0.0

    def is_dead(self, *, holder: int, sign: str, now: float, waits: bool = False) -> bool:
        """Whether to end the session *holder*, given the newest sign of life.

        A leader that *waits* for another database's leader shows none of its own: it has as
        long again as it must wait once the other's signs have ended.
        """
        patience = PATIENCE_SECONDS + OWNER_PATIENCE_SECONDS * waits
        seen = (holder, sign)
        if seen != self._seen or now - self._looked_at > _MAX_UNSEEN_SECONDS:
            self._seen, self._since = seen, now
        self._looked_at = now
        return now - self._since >= patience

    def start_anew(self) -> None:
        """The signs could not be seen, or the session was ended."""
        self._seen = None


@dataclass(slots=True)
class OwnerWatch:
    """Whether the listener of another database uses the same channels and keys in Redis.

    Two of them would reset each other's clients without end, and each would tell its clients of
    the other's projects. Who is there stays: a database that took its place (restored, or
    upgraded to another cluster) waits until its leader shows no sign of life any more.
    """

    _sign: str | None = None
    _since: float = 0.0

    def must_wait(self, state: Mapping[str, str], *, database: str, now: float) -> bool:
        """Whether the leader of this *database* must not lead yet, given the stored state."""
        if state.get("database", database) == database:
            return False
        sign = state.get("alive", "")
        if sign != self._sign:
            self._sign, self._since = sign, now
        return now - self._since < OWNER_PATIENCE_SECONDS
