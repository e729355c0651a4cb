"""A small model of Redis: the effects of our scripts on channel logs and state.

``Store.run`` takes a script's key and arguments and returns what the script returns:
``tests/integration/links/test_redis_scripts.py`` makes the same calls to a real server.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = {
    (ROOT / f"{path}.lua").read_text(): path.rpartition("/")[2]
    for path in (
        "listener/leader/lua/publish",
        "listener/leader/lua/save",
        "gateway/delivery/lua/replay",
    )
}
_MOST: Final = 9_000_000_000_000_000


@dataclass(slots=True)
class Log:
    """A channel log: its epoch, its floor, and each row's newest change above the floor."""

    epoch: bytes
    floor: int
    rows: dict[bytes, int] = field(default_factory=dict)

    @property
    def generation(self) -> bytes:
        return self.epoch.partition(b".")[0]

    @property
    def last(self) -> int:
        return max(self.rows.values(), default=self.floor)

    def above(self, offset: int) -> list[tuple[bytes, int]]:
        found = [(row, at) for row, at in self.rows.items() if at > offset]
        return sorted(found, key=lambda entry: (entry[1], entry[0]))


class Store:
    """All keys. ``tell`` is called for each message, with its channel log member if any."""

    def __init__(
        self, now: Callable[[], int], tell: Callable[[bytes, bytes, bytes], None]
    ) -> None:
        self._now = now
        self._tell = tell
        self.logs: dict[str, Log] = {}
        self.state: dict[bytes, bytes] = {}

    def copy(self) -> tuple[dict[str, Log], dict[bytes, bytes]]:
        return deepcopy(self.logs), dict(self.state)

    def run(self, script: str, key: str, arguments: Sequence[str | bytes | int]) -> Any:
        words = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
        if script == "publish":
            return self._publish(key, *words[:6], events=words[6:])
        if script == "save":
            return self._save(*words[:4], pairs=words[4:])
        return self._replay(key, *words)

    def _publish(
        self,
        key: str,
        channel: bytes,
        generation: bytes,
        random: bytes,
        most: bytes,
        _ttl: bytes,
        _command: bytes,
        *,
        events: Sequence[bytes],
    ) -> list[bytes]:
        log = self.logs.get(key)
        now = self._now()
        if log is None or log.generation != generation or log.last > _MOST:
            log = self.logs[key] = Log(generation + b"." + random, now)
        last = log.last
        for member, head, tail in zip(events[::3], events[1::3], events[2::3], strict=True):
            last = max(last + 1, now)
            if member == b"*":
                log.rows.clear()
            log.rows[member] = last
            self._tell(channel, head + log.epoch + b".%d" % last + tail, member)
        over = len(log.rows) - int(most)
        if over > 0:
            for member, offset in log.above(log.floor)[:over]:
                del log.rows[member]
                log.floor = offset
        return [log.epoch, b"%d" % last]

    def _save(
        self,
        generation: bytes,
        channel: bytes,
        before: bytes,
        after: bytes,
        *,
        pairs: Sequence[bytes],
    ) -> bytes | None:
        stored = self.state.get(b"generation")
        if generation and stored != generation:
            return stored
        self.state |= dict(zip(pairs[::2], pairs[1::2], strict=True))
        if before:
            self._tell(channel, before + b"%d" % self._now() + after, b"")
        return stored

    def _replay(
        self,
        key: str,
        generation: bytes,
        random: bytes,
        _ttl: bytes,
        epoch: bytes,
        since: bytes,
        page: bytes,
    ) -> list[bytes | int]:
        log = self.logs.get(key)
        if log is None or log.generation != generation:
            log = self.logs[key] = Log(generation + b"." + random, self._now())
        found: list[bytes | int] = [log.epoch, b"%d" % log.floor, b"%d" % log.last, 0]
        if since and int(since) >= log.floor and epoch in (b"", log.epoch):
            rows = log.above(int(since))
            found[3] = int(len(rows) > int(page))
            for member, offset in rows[: int(page)]:
                found += [member, b"%d" % offset]
        return found
