"""Decides when a standby replaces the leader, and when a leader must wait for another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PATIENCE_SECONDS: Final = 5.0
# Longer than a standby's patience: while the other database has listeners, it has a leader.
OWNER_PATIENCE_SECONDS: Final = 10.0
_MAX_UNSEEN_SECONDS: Final = 3.0


@dataclass(slots=True)
class LeaderWatch:
    """Decides when a standby ends the leader's session: the process is frozen, or cut off.

    A leader writes a new heartbeat to Redis each second, once PostgreSQL has answered it. The
    clock runs only while the standby can read heartbeats. It restarts when another session
    holds the lock, a read failed, or too much time passed between two reads, so that neither an
    outage of Redis nor a freeze of the standby ends a healthy leader.
    """

    _seen: tuple[int, str] | None = None
    _since: float = 0.0
    _read_at: float = 0.0

    def is_dead(
        self, *, holder: int, heartbeat: str, now: float, is_waiting: bool = False
    ) -> bool:
        """Whether to end the session *holder*, given the newest heartbeat.

        A leader that *is_waiting* for another database's leader sends none. Its patience is
        longer by the time that it must wait once the other's heartbeats have ended.
        """
        patience = PATIENCE_SECONDS + OWNER_PATIENCE_SECONDS * is_waiting
        seen = (holder, heartbeat)
        if seen != self._seen or now - self._read_at > _MAX_UNSEEN_SECONDS:
            self._seen, self._since = seen, now
        self._read_at = now
        return now - self._since >= patience

    def restart(self) -> None:
        """Restart the clock: heartbeats could not be read, or the session was ended."""
        self._seen = None


@dataclass(slots=True)
class OwnerWatch:
    """Decides whether another database's listener owns the same channels and keys in Redis.

    Two of them would reset each other's clients without end, and each would send its clients
    events of the other's projects. The present owner stays: a database that replaces it
    (restored, or upgraded to another cluster) waits until the heartbeats of the owner's leader
    end.
    """

    _heartbeat: str | None = None
    _since: float = 0.0

    def must_wait(self, state: Mapping[str, str], *, database: str, now: float) -> bool:
        """Whether the leader of this *database* must not lead yet, given the stored state."""
        if state.get("database", database) == database:
            return False
        heartbeat = state.get("alive", "")
        if heartbeat != self._heartbeat:
            self._heartbeat, self._since = heartbeat, now
        return now - self._since < OWNER_PATIENCE_SECONDS
