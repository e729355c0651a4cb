"""Sources of keys: refreshing, sharing one read, and keeping old keys during an outage."""

import asyncio

import pytest

from gateway.auth.key_sources import DocumentUnavailable
from shared.protocol.close_codes import Refusal
from tests.unit.gateway.auth.keys_and_tokens import (
    ME,
    RSA,
    RSA_2,
    A,
    B,
    Clock,
    Document,
    document_keys,
    signed,
    verifier,
)


async def test_new_keys_are_read_on_demand_but_not_too_often() -> None:
    document, clock = Document(A), Clock()
    source = document_keys(document, clock)
    held = verifier(source)
    states = [source.state]
    assert await held.verify(signed(RSA, "RS256", header={"kid": "a"})) == ME
    states.append(source.state)
    assert states == ["missing", "ok"]
    document.content = B
    new = signed(RSA_2, "RS256", header={"kid": "b"})
    clock.now += 4.9
    for _ in range(10):
        assert isinstance(await held.verify(new), Refusal)
    assert document.fetched == 1
    clock.now += 0.1
    assert await held.verify(new) == ME
    assert document.fetched == 2


async def test_concurrent_callers_share_one_read_of_the_keys() -> None:
    document = Document(A)
    document.may_answer.clear()
    held = verifier(document_keys(document, Clock()))
    async with asyncio.TaskGroup() as tasks:
        asking = [
            tasks.create_task(held.verify(signed(RSA, "RS256", header={"kid": kid})))
            for kid in "aaab"
        ]
        await asyncio.sleep(0)
        document.may_answer.set()
    answers = [task.result() for task in asking]
    assert answers[:3] == [ME] * 3
    assert isinstance(answers[3], Refusal)
    assert document.fetched == 1


@pytest.mark.parametrize(
    "fault", [DocumentUnavailable("unavailable"), b"garbage", b'{"keys":[]}'], ids=str
)
async def test_old_keys_stay_in_use_while_new_ones_can_not_be_read(
    fault: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="gateway.auth.key_sources")
    document, clock = Document(A), Clock()
    source = document_keys(document, clock)
    await source.refresh()
    before = source.keys
    document.content = fault
    for _ in range(3):
        clock.now += 5
        await source.refresh()
    assert (source.state, source.keys) == ("degraded", before)
    document.content = A
    clock.now += 5
    await source.refresh()
    assert (source.state, source.keys) == ("ok", before)
    assert [record.message for record in caplog.records] == [
        "keys read",
        "keys could not be read",
        "keys can be read again",
    ]


async def test_a_cancelled_refresh_leaves_the_source_usable() -> None:
    document, clock = Document(A), Clock()
    document.may_answer.clear()
    source = document_keys(document, clock)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.refresh(), 0.001)
    document.may_answer.set()
    clock.now += 5
    await source.refresh()
    assert source.state == "ok"
