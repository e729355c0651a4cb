import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.protocol.slots import (
    SLOT_COUNT,
    Claim,
    Node,
    SeenRange,
    Serving,
    SlotRange,
    SlotTable,
    count_slots,
    merge_claims,
    parse_slot_table,
    plan_slots,
    ranges_by_address,
    slot_of,
)

A = Node("a", 1, "run-a")
B = Node("b", 2, "run-b")
LAST = SLOT_COUNT - 1
HALF = 8191


def seen(first: int, last: int, node: Node, identity: str | None = "") -> SeenRange:
    found = node.identity if identity == "" else identity
    return SeenRange(first, last, node.host, node.port, found)


def two_nodes() -> SlotTable:
    return plan_slots(SlotTable(), [seen(0, HALF, A), seen(HALF + 1, LAST, B)])


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("123456789", 0x31C3),  # the check value of CRC16/XMODEM
        ("foo", 12182),
        ("{foo}:log", 12182),
        ("a{foo}{bar}", 12182),
        ("a{foo", slot_of("a{foo")),
        ("{}foo", 9500),
        ("{ä}", slot_of("ä")),
    ],
)
def test_a_name_has_the_slot_of_its_hash_tag(name: str, slot: int) -> None:
    assert slot_of(name) == slot


def test_without_a_tag_the_whole_name_counts() -> None:
    assert slot_of("{}foo") != slot_of("foo")
    assert slot_of("a{foo") != slot_of("foo")


def test_a_table_says_who_serves_a_slot() -> None:
    table = two_nodes()
    assert (table.version, table.nodes) == (1, {A, B})
    assert table.of(0) == table.of(HALF) == Serving(A, 1)
    assert table.of(HALF + 1) == table.of(LAST) == Serving(B, 1)
    assert SlotTable().of(0) is None
    assert plan_slots(SlotTable(), [seen(5, 6, A)]).of(4) is None
    assert plan_slots(SlotTable(), [seen(5, 6, A)]).of(7) is None


def test_what_did_not_change_keeps_the_version() -> None:
    table = two_nodes()
    assert plan_slots(table, [seen(HALF + 1, LAST, B), seen(0, HALF, A)]) is table


@pytest.mark.parametrize(
    "now",
    [
        Node("a", 1, "run-again"),  # restarted
        Node("c", 3, "run-c"),  # a failover
    ],
)
def test_slots_that_another_server_serves_get_another_number(now: Node) -> None:
    table = plan_slots(two_nodes(), [seen(0, HALF, now), seen(HALF + 1, LAST, B)])
    assert table.version == 2
    assert table.of(0) == Serving(now, 2)
    assert table.of(LAST) == Serving(B, 1)


def test_moved_slots_get_another_number_and_their_neighbours_keep_theirs() -> None:
    table = plan_slots(two_nodes(), [seen(0, 99, A), seen(100, LAST, B)])
    assert [table.of(slot) for slot in (99, 100, HALF, HALF + 1)] == [
        Serving(A, 1),
        Serving(B, 2),
        Serving(B, 2),
        Serving(B, 1),
    ]
    back = plan_slots(table, [seen(0, HALF, A), seen(HALF + 1, LAST, B)])
    assert back.of(100) == Serving(A, 3)


def test_a_server_that_does_not_answer_is_taken_for_the_same_one() -> None:
    table = two_nodes()
    assert plan_slots(table, [seen(0, HALF, A, None), seen(HALF + 1, LAST, B)]) is table


def test_nobody_serves_slots_of_an_unknown_server_or_of_none() -> None:
    new = Node("c", 3, "?")
    table = plan_slots(two_nodes(), [seen(0, HALF, new, None)])
    assert (table.version, table.ranges) == (2, ())


def test_slots_that_nobody_served_get_another_number_even_with_the_same_server() -> None:
    table = two_nodes().without({LAST}, ())
    assert table.version == 2
    assert table.of(LAST) is None
    assert table.of(LAST - 1) == Serving(B, 1)
    again = plan_slots(table, [seen(0, HALF, A), seen(HALF + 1, LAST, B)])
    assert again.of(LAST) == Serving(B, 3)
    assert again.of(LAST - 1) == Serving(B, 1)


def test_nobody_serves_the_slots_of_a_node_that_takes_no_events() -> None:
    table = two_nodes().without((), {A})
    assert table.of(0) is None
    assert table.of(LAST) == Serving(B, 1)


def test_of_two_views_the_higher_epoch_is_right() -> None:
    claims = [
        Claim(7, 5, 9, "b", 2),
        Claim(1, 0, 9, "a", 1),
        Claim(2, 10, 10, "c", 3),
        Claim(2, 10, 10, "c", 3),
        Claim(1, 10, 11, "a", 1),
    ]
    assert merge_claims(claims) == [
        (0, 4, "a", 1),
        (5, 9, "b", 2),
        (10, 10, "c", 3),
        (11, 11, "a", 1),
    ]
    assert merge_claims([]) == []


RANGES = st.lists(
    st.tuples(st.integers(1, 5000), st.sampled_from([A, B, None]), st.integers(1, 9)),
    max_size=12,
)


@given(RANGES, st.integers(0, 9))
def test_a_table_is_read_back(parts: list[tuple[int, Node | None, int]], version: int) -> None:
    ranges, first = [], 0
    for size, node, number in parts:
        if node is not None:
            ranges.append(SlotRange(first, first + size - 1, Serving(node, number)))
        first += size
    table = SlotTable(version, tuple(ranges))
    assert parse_slot_table(table.to_json()) == table


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version":1,"nodes":[],"ranges":[[0,1,0,1]]}', '{"nodes":[1]}']
)
def test_what_is_no_table_has_no_ranges(text: str) -> None:
    assert parse_slot_table(text) == SlotTable()


def test_what_was_seen_is_counted_by_address() -> None:
    ranges = [SeenRange(0, 9, "a", 1, "x"), SeenRange(10, 10, "b", 1, None)]
    ranges.append(SeenRange(20, 24, "a", 1, "x"))
    found = ranges_by_address(ranges)
    assert {address: count_slots(own) for address, own in found.items()} == {
        ("a", 1): 15,
        ("b", 1): 1,
    }
