from gateway.delivery.cluster_channels import ClusterChannels
from shared.protocol.channels import Channel, RedisNames
from shared.protocol.slots import Node, Serving, SlotRange, SlotTable, slot_of

NODE = Node("a", 1, "run")
CHANNEL = Channel("project", "1")


def test_the_generation_of_a_channel_has_the_number_of_its_slot() -> None:
    channels = ClusterChannels(RedisNames(is_cluster=True))
    slot = slot_of("{project:1}")
    assert channels.slot(CHANNEL) == slot
    assert channels.serving(CHANNEL) is None
    assert channels.generation_of("g", CHANNEL) == ""
    channels.table = SlotTable(1, (SlotRange(slot, slot, Serving(NODE, 7)),))
    assert channels.generation_of("g", CHANNEL) == "g-7"
