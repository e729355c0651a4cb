"""The channels with the most subscribers, at a bounded cost."""

from gateway.delivery.top_channels import CHANNELS_PER_UPDATE, MAX_TOP, TopChannels
from shared.protocol.channels import Channel


class Counted:
    """Channels with their numbers of subscribers, which counts how often it is asked."""

    def __init__(self, counts: dict[Channel, int]) -> None:
        self.counts = counts
        self.asked = 0
        self.top = TopChannels(lambda: self.counts.keys(), self.count)

    def count(self, channel: Channel) -> int:
        self.asked += 1
        return self.counts.get(channel, 0)


def project(number: int) -> Channel:
    return Channel("project", str(number))


def test_the_most_subscribed_channels_are_found() -> None:
    counted = Counted({project(number): number for number in range(1, 50)})
    top = counted.top.update()
    assert top == [(project(number), number) for number in range(49, 49 - MAX_TOP, -1)]


def test_an_update_looks_at_a_bounded_number_of_channels() -> None:
    count = 5 * CHANNELS_PER_UPDATE
    counted = Counted({project(number): number + 1 for number in range(count)})
    found: set[Channel] = set()
    for _ in range(5):
        counted.asked = 0
        found = {channel for channel, _ in counted.top.update()}
        assert counted.asked <= CHANNELS_PER_UPDATE + MAX_TOP
    assert found == {project(number) for number in range(count - MAX_TOP, count)}, "all seen"


def test_channels_that_have_ended_or_shrunk_leave() -> None:
    counted = Counted({project(number): number for number in range(1, 30)})
    counted.top.update()
    del counted.counts[project(29)]
    counted.counts[project(28)] = 1
    counted.counts[project(1)] = 100
    top = counted.top.update()
    assert top[0] == (project(1), 100)
    assert {project(28), project(29)}.isdisjoint(channel for channel, _ in top)


def test_without_channels_there_is_none_on_top() -> None:
    assert Counted({}).top.update() == []
