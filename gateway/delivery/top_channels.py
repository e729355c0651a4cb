"""Which channels have the most subscribers, found without a look at all of them at once."""

from collections.abc import Callable, Collection
from heapq import nlargest
from typing import Final

from shared.protocol.channels import Channel

MAX_TOP: Final = 10
CHANNELS_PER_UPDATE: Final = 2000


class TopChannels:
    """The channels with the most subscribers.

    Each update looks at the next ``CHANNELS_PER_UPDATE`` channels and at those that were on top
    before. So it costs the same however many channels there are, and a channel is on top, or
    has left it, once all were looked at.
    """

    def __init__(
        self, channels: Callable[[], Collection[Channel]], count: Callable[[Channel], int]
    ) -> None:
        self._channels = channels
        self._count = count
        self._pending: list[Channel] = []
        self._top: list[Channel] = []

    def update(self) -> list[tuple[Channel, int]]:
        """Return the channels on top, with the number of their subscribers, most first."""
        if not self._pending:
            self._pending = list(self._channels())  # they change while it is worked off
        seen = self._pending[-CHANNELS_PER_UPDATE:]
        del self._pending[-CHANNELS_PER_UPDATE:]
        counts = {channel: self._count(channel) for channel in (*self._top, *seen)}
        self._top = nlargest(
            MAX_TOP, (one for one in counts if counts[one]), key=counts.__getitem__
        )
        return [(channel, counts[channel]) for channel in self._top]
