"""Which node of a cluster serves each channel, by the leader's slot table."""

from shared.protocol.channels import Channel, RedisNames
from shared.protocol.slots import Serving, SlotTable, slot_of


class ClusterChannels:
    """The slot table that is in force, applied to channels."""

    def __init__(self, names: RedisNames) -> None:
        self._names = names
        self.table = SlotTable()

    def slot(self, channel: Channel) -> int:
        return slot_of(self._names.channel(channel))

    def serving(self, channel: Channel) -> Serving | None:
        """Who serves the channel; None: nobody."""
        return self.table.of(self.slot(channel))

    def generation_of(self, generation: str, channel: Channel) -> str:
        """The generation in the cursors of the channel; empty while nobody serves it."""
        serving = self.serving(channel)
        return f"{generation}-{serving.number}" if serving else ""
