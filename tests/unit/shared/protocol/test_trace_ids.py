import pytest

from shared.protocol.channels import Channel
from shared.protocol.events import cursor_text
from shared.protocol.trace_ids import (
    TraceIds,
    published_cursors,
    sampled_trace,
    sampling_bound,
)

CURSORS = [b"%d" % number for number in range(1000)]
ALL = sampling_bound(1)


def test_ids_are_the_same_in_every_process_and_version() -> None:
    # as `printf p1.g.e.5 | b2sum -l 192` says
    assert sampled_trace(b"p1.g.e.5", ALL) == TraceIds(
        0x8F13EE8ABDBC1A6037476E91D6F3439C, 0x3F8BBFD74BE80183
    )


def test_each_cursor_has_a_trace() -> None:
    found = [sampled_trace(cursor, ALL) for cursor in CURSORS]
    assert len({ids.trace_id for ids in found if ids}) == len(CURSORS)
    assert len({ids.root_span_id for ids in found if ids}) == len(CURSORS)


def test_ids_have_the_lengths_of_opentelemetry() -> None:
    for cursor in CURSORS:
        ids = sampled_trace(cursor, ALL)
        assert ids is not None
        assert 0 < ids.trace_id < 2**128
        assert 0 < ids.root_span_id < 2**64


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_about_the_ratio_of_all_events_is_sampled(ratio: float) -> None:
    count = sum(sampled_trace(c, sampling_bound(ratio)) is not None for c in CURSORS)
    assert abs(count - ratio * len(CURSORS)) <= (50 if 0 < ratio < 1 else 0)


def test_a_higher_ratio_samples_what_a_lower_one_does() -> None:
    low, high = sampling_bound(0.1), sampling_bound(0.2)
    for cursor in CURSORS:
        if (ids := sampled_trace(cursor, low)) is not None:
            assert sampled_trace(cursor, high) == ids


def test_published_cursors_are_those_of_the_frames() -> None:
    channel = Channel("project", "p")
    cursors = list(published_cursors(channel, b"g.e", 12, 3))
    assert cursors == [f"{channel.token}.g.e.{n}".encode() for n in (10, 11, 12)]
    assert cursor_text(b'{"cursor":"' + cursors[0] + b'"}') == cursors[0]
