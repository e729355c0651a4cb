"""The load test's own rules: frames, losses, percentiles, and a client that is too slow."""

import asyncio
import math
import multiprocessing
import random
import subprocess
import sys
import time

import orjson
import pytest

from gateway.transport.frame_parser import FrameParser
from gateway.transport.websocket_frames import encode_text_frame
from tests.load import wire
from tests.load.accounting import (
    BROKEN,
    OF_ANOTHER_PROJECT,
    Verdict,
    find_bottleneck,
    find_disturbances,
    find_problems,
    histogram,
    judge,
    merge,
    most_at_once,
    percentiles_us,
)
from tests.load.growth import bound_ms
from tests.load.measurement import Clients
from tests.load.plots import Line, line_chart
from tests.load.subscriber import Assignment, ForgetfulSubscriber, Subscriber, Tally
from tests.support.machine import cpu_seconds, own_cpu_seconds, resident_kib

EVENT = (
    b'{"type":"cache_invalidate","resource":"task","data":{"resource":"task","id":"%s",'
    b'"action":"INSERT"},"channel":"project:p","cursor":"newest"}'
)
PROJECT = wire.uuid_of(3)


def _subscriber(
    kind: type[Subscriber] = Subscriber, *, is_v1: bool = True
) -> tuple[Subscriber, Tally]:
    tally = Tally(base_ns=time.monotonic_ns() - 10**9)
    assignment = Assignment(number=0, project=3, ports=(1,), is_slow=False, is_cut=False)
    return kind(assignment, tally, "token", is_v1=is_v1), tally


def _event(change: int, *, project: int = 3) -> bytes:
    return EVENT % wire.row_id(1, project, change).encode()


def _connected(*resumed: str) -> bytes:
    cursors = {f"project:{PROJECT}": "first"}
    return orjson.dumps({"type": "connected", "cursors": cursors, "resumed": resumed})


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536], ids=str)
def test_a_frame_of_any_size_is_found_whole(size: int) -> None:
    frame = encode_text_frame(b"x" * size)
    frames, rest = wire.split_frames(frame + frame)
    assert [(code, len(payload)) for code, payload in frames] == [(wire.TEXT, size)] * 2
    assert rest == b""


def test_frames_cut_anywhere_are_the_same_frames() -> None:
    ping = bytes((0x80 | wire.PING, 2)) + b"hi"
    data = encode_text_frame(b"y" * 300) + ping + encode_text_frame(b"z")
    for cut in range(len(data) + 1):
        first, rest = wire.split_frames(data[:cut])
        second, left = wire.split_frames(rest + data[cut:])
        assert first + second == [
            (wire.TEXT, b"y" * 300),
            (wire.PING, b"hi"),
            (wire.TEXT, b"z"),
        ]
        assert left == b""


@pytest.mark.parametrize(
    "data",
    [b"\x01\x00", b"\x80\x00", b"\xc1\x00", b"\x81\x80"],
    ids=["not final", "continuation", "compressed", "masked"],
)
def test_a_frame_that_a_server_may_not_send_is_an_error(data: bytes) -> None:
    with pytest.raises(wire.ServerBroke):
        wire.split_frames(data)


def test_an_event_identifies_its_write() -> None:
    padded = wire.row_id(4_000_000_000, 999, 123456) + "x" * 400
    assert wire.read_row(EVENT % padded.encode()) == (4_000_000_000, 999, 123456)


@pytest.mark.parametrize("sent_us", [0, 2**32 - 1, 2**32, 30 * 3600 * 10**6], ids=str)
def test_an_event_identifies_a_write_of_hours_later(sent_us: int) -> None:
    id_ = wire.row_id(sent_us, 7, 8)
    assert wire.read_row(EVENT % id_.encode()) == (sent_us, 7, 8)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535], ids=str)
def test_a_frame_of_a_client_is_read_by_the_gateway(size: int) -> None:
    frame = wire.client_frame(wire.TEXT, b"x" * size)
    assert FrameParser(max_message_bytes=2**16).feed(frame) == ["x" * size]


def test_an_event_of_a_foreign_row_is_an_error() -> None:
    with pytest.raises(wire.ServerBroke):
        wire.read_row(EVENT % b"task 7")


def test_an_upgrade_is_checked() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "
    with pytest.raises(wire.ServerBroke):
        wire.check_upgraded(answer + b"nonsense")
    with pytest.raises(wire.Refused, match="403"):
        wire.check_upgraded(b"HTTP/1.1 403 Forbidden\r\nX: y")


@pytest.mark.parametrize(
    ("seen", "acknowledged_us", "reset_us", "verdict"),
    [
        (b"", [], 0, Verdict(0, 0, [])),
        (b"\1\1", [10, 20], 0, Verdict(2, 0, [])),
        (b"\1", [10, 20], 0, Verdict(1, 0, [1])),
        (b"\0\1", [10, 20], 0, Verdict(1, 0, [0])),
        (b"\0\1", [10, 20], 10, Verdict(1, 1, [])),
        (b"", [10, 20], 15, Verdict(0, 1, [1])),
    ],
    ids=[
        "nothing written",
        "all told",
        "the last is lost",
        "an earlier one is lost",
        "a reset came after the commit",
        "a reset covers only what was committed before it",
    ],
)
def test_each_change_needs_its_event_or_a_later_reset(
    seen: bytes, acknowledged_us: list[int], reset_us: int, verdict: Verdict
) -> None:
    assert judge(bytearray(seen), acknowledged_us, reset_us) == verdict


def test_each_event_counts_once() -> None:
    subscriber, tally = _subscriber()
    for change in (0, 2, 2):
        subscriber.receive(_event(change))
    assert subscriber.seen == b"\1\0\1"
    assert tally.delivered == 2
    assert tally.counts == {"told twice": 1}


def test_an_event_of_another_project_is_noticed() -> None:
    subscriber, tally = _subscriber()
    subscriber.receive(_event(0, project=4))
    assert tally.counts == {OF_ANOTHER_PROJECT: 1}
    assert subscriber.seen == b""


def test_a_forgetful_subscriber_misses_one_change() -> None:
    subscriber, _ = _subscriber(ForgetfulSubscriber)
    for change in range(3):
        subscriber.receive(_event(change))
    assert subscriber.seen == b"\1\0\1"


def test_a_subscriber_comes_back_with_its_newest_cursor() -> None:
    subscriber, _ = _subscriber()
    subscriber.receive(_connected())
    assert subscriber.cursors == ["first"]
    subscriber.receive(_event(0))
    assert subscriber.cursors == ["first", "newest"]  # of two channels


@pytest.mark.parametrize(
    ("resumed", "counted"),
    [([f"project:{PROJECT}"], "returned, resumed"), ([], "returned, reset")],
    ids=["resumed", "reset"],
)
def test_a_returning_subscriber_is_reset_unless_resumed(
    resumed: list[str], counted: str
) -> None:
    subscriber, tally = _subscriber()
    subscriber.left_us = 1
    subscriber.receive(_connected(*resumed))
    assert tally.counts == {counted: 1}
    assert (subscriber.reset_us > 0) == (not resumed)


@pytest.mark.parametrize(
    ("project_id", "is_reset"),
    [({}, True), ({"project_id": PROJECT}, True), ({"project_id": "another"}, False)],
    ids=["everything", "its project", "another project"],
)
def test_a_reconnect_resets_the_project_that_it_names(
    project_id: dict[str, str], is_reset: bool
) -> None:
    subscriber, tally = _subscriber()
    frame = {"type": "reconnect", "data": {"reason": "gap"}, **project_id}
    subscriber.receive(orjson.dumps(frame))
    assert (subscriber.reset_us > 0) is is_reset
    assert tally.resets == is_reset


def test_a_plain_client_is_greeted_by_a_reconnect() -> None:
    subscriber, tally = _subscriber(is_v1=False)
    subscriber.receive(b'{"type":"reconnect","data":{"reason":"connected"}}')
    assert subscriber.reset_us > 0
    assert tally.resets == 0


def test_cpu_and_memory_of_a_process_include_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert cpu_seconds(process.pid) > own_cpu_seconds(process.pid)
        assert resident_kib(process.pid) > 0
        process.communicate(b"\n")
    assert cpu_seconds(process.pid) == 0


def test_percentiles_are_exact_to_a_thousandth() -> None:
    generator = random.Random(1)
    values = sorted(int(10 ** generator.uniform(1, 7)) for _ in range(10_000))
    halves = merge([histogram(values[::2]), histogram(values[1::2])])
    found = percentiles_us(halves)
    assert found is not None
    for name, rank in {
        "p50": 5000,
        "p90": 9000,
        "p99": 9900,
        "p99.9": 9990,
        "max": 10_000,
    }.items():
        assert found[name] == pytest.approx(values[rank - 1], rel=0.001, abs=1)


def test_a_share_of_a_histogram_is_below_the_bound_of_a_bucket() -> None:
    metrics = """\
# TYPE lag_seconds histogram
lag_seconds_bucket{le="0.01"} 90
lag_seconds_bucket{le="0.025"} 99
lag_seconds_bucket{le="+Inf"} 100
"""
    assert bound_ms(metrics, "lag_seconds", 0.5) == 10
    assert bound_ms(metrics, "lag_seconds", 0.99) == 25
    assert bound_ms(metrics, "lag_seconds", 1.0) == math.inf


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert percentiles_us(histogram()) is None


def test_a_client_that_is_busy_or_late_is_reported() -> None:
    assert find_bottleneck({"client 1": 0.5, "writer": 0.2}, 3.0) == []
    assert find_bottleneck({"client 1": 0.97}, 3.0) == ["client 1 used 0.97 of a core"]
    assert find_bottleneck({}, 25.0) == ["its event loop was late by 25.0 ms (p99)"]


def test_losses_leaks_and_broken_frames_fail_a_run() -> None:
    assert find_problems(0, {"told twice": 3, "reset: gap": 1}) == []
    assert find_problems(2, {OF_ANOTHER_PROJECT: 1, f"{BROKEN}bad frame": 1}) == [
        "2 lost",
        f"1 {OF_ANOTHER_PROJECT}",
        f"1 {BROKEN}bad frame",
    ]


@pytest.mark.parametrize(
    ("absences", "most"),
    [
        ([], 0),
        ([(1, 5)], 1),
        ([(1, 5), (5, 9)], 1),
        ([(1, 5), (4, 9), (4, 6), (7, 8)], 3),
    ],
    ids=["none", "one", "one after the other", "three at once"],
)
def test_clients_away_at_the_same_time_are_counted(
    absences: list[tuple[int, int]], most: int
) -> None:
    assert most_at_once(absences) == most


def test_a_seamless_change_resets_no_client_and_keeps_most_connected() -> None:
    fine = {"returned, resumed": 9, "closed by the server: 1012": 9}
    assert find_disturbances(fine, most_away=20, sockets=100) == []
    resets = {"returned, reset": 1, "reset: gap": 2}
    assert find_disturbances(resets, most_away=21, sockets=100) == [
        "3 clients reset",
        "21 of 100 clients away at once: over 20%",
    ]


def test_a_subscriber_that_was_away_says_when() -> None:
    subscriber, tally = _subscriber()
    subscriber.left_us = 7
    subscriber.receive(_connected())
    [(left_us, back_us)] = tally.absences
    assert (left_us, back_us > 7) == (7, True)
    assert subscriber.left_us is None


def test_events_of_other_resources_only_move_the_cursor() -> None:
    subscriber, tally = _subscriber()
    subscriber.receive(_event(0))
    event = {
        "type": "cache_invalidate",
        "resource": "project_members",
        "data": {"id": f"{PROJECT}:{PROJECT}"},
        "channel": "user:u",
        "cursor": "of the user",
    }
    subscriber.receive(orjson.dumps(event))
    assert subscriber.cursors == ["newest", "of the user"]
    assert tally.counts == {"frame: cache_invalidate": 1}


def test_a_subscriber_renews_its_token_and_leaves_when_it_loses_access() -> None:
    subscriber, _ = _subscriber()
    subscriber.receive(b'{"type":"token_expiring","in":60}')
    assert subscriber.must_renew
    with pytest.raises(wire.Refused):
        subscriber.receive(b'{"type":"unsubscribed","project_id":"p","reason":"revoked"}')


def test_a_chart_leaves_out_what_a_log_axis_cannot_show() -> None:
    chart = line_chart(
        "<p99>",
        [Line("a", [(1, 0.0), (2, 5.0), (3, 50.0)]), Line("b", [(1, 0.0)])],
        unit="ms",
        x_label="second",
        is_log=True,
    )
    assert chart.count("<polyline") == 1
    assert "&lt;p99&gt;" in chart
    assert line_chart("none", [], unit="", x_label="") == ""


async def test_a_cancelled_request_leaves_no_answer_to_the_next() -> None:
    ours, theirs = zip(multiprocessing.Pipe(), multiprocessing.Pipe(), strict=True)
    clients = Clients(list(ours), [], [])

    async def answer(command: str, *answers: object) -> None:
        for link, each in zip(theirs, answers, strict=True):
            received, *_ = await asyncio.to_thread(link.recv)
            assert received == command
            link.send(each)

    reading = asyncio.create_task(clients.read())
    await asyncio.sleep(0)  # the request is on its way
    reading.cancel()
    finishing = asyncio.create_task(clients.finish({}))
    await answer("read", "a reading", "a reading")
    await answer("finish", "findings 1", "findings 2")
    assert list(map(str, await finishing)) == ["findings 1", "findings 2"]
    with pytest.raises(asyncio.CancelledError):
        await reading
