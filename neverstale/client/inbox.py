"""The messages that the app has not taken yet."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from neverstale.client.cursors import with_changes
from neverstale.client.messages import Cursors, Message, Reset, Status


class Inbox:
    """A queue of at most *max_messages* messages. If more are put into it, one reset replaces
    them: they could only have named what is stale.
    """

    def __init__(self, cursors: Cursors, max_messages: int) -> None:
        self._cursors = cursors  # after the message that was taken last
        self._max_messages = max_messages
        self._waiting = deque[tuple[Message, Mapping[str, str | None]]]()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message, changes: Mapping[str, str | None]) -> bool:
        """Add a message. Return False if there were too many and all were replaced."""
        self._waiting.append((message, changes))
        if len(self._waiting) <= self._max_messages:
            return True
        all_changes: dict[str, str | None] = {}
        status = None
        for waiting, its_changes in self._waiting:
            all_changes |= its_changes
            status = waiting if isinstance(waiting, Status) else status
        self._waiting.clear()
        self._waiting.append((Reset(project_id=None, reason="lagged"), all_changes))
        if status is not None:
            self._waiting.append((status, {}))
        return False

    def take(self) -> Message:
        """Remove the oldest message. Its cursors hold once it is processed."""
        message, changes = self._waiting.popleft()
        if changes:
            self._cursors = with_changes(self._cursors, changes)
        return replace(message, cursors=self._cursors)
