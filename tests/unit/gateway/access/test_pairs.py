"""Finding the pairs that a recheck concerns, and what that costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.access_cache import AccessCache
from gateway.access.pairs import Pair, PairMap
from shared.protocol.control_messages import Recheck

P_U, P_V, Q_U = ("p", "u"), ("p", "v"), ("q", "u")


@pytest.mark.parametrize(
    ("recheck", "concerned"),
    [
        (Recheck("p", "u"), {P_U}),
        (Recheck("p", None), {P_U, P_V}),
        (Recheck(None, "u"), {P_U, Q_U}),
        (Recheck(None, None), {P_U, P_V, Q_U}),
        (Recheck("x", "u"), set()),
        (Recheck("x", None), set()),
        (Recheck(None, "x"), set()),
    ],
)
def test_a_recheck_concerns(recheck: Recheck, concerned: set[Pair]) -> None:
    pairs: PairMap[int] = PairMap()
    for pair in (P_U, P_V, Q_U):
        pairs.put(pair, 1)
    assert set(pairs.matching(recheck)) == concerned


IDS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(st.booleans(), IDS, IDS)))
def test_it_finds_what_a_dictionary_would(steps: list[tuple[bool, str, str]]) -> None:
    pairs: PairMap[int] = PairMap()
    model: dict[Pair, int] = {}
    for number, (puts, project, user) in enumerate(steps):
        pair = (project, user)
        if puts:
            pairs.put(pair, number)
            model.pop(pair, None)
            model[pair] = number
        else:
            assert pairs.pop(pair) == model.pop(pair, None)
    assert list(pairs) == list(model)
    assert len(pairs) == len(model)
    for one in "abc":
        for_project = pairs.matching(Recheck(one, None))
        assert sorted(for_project) == sorted(pair for pair in model if pair[0] == one)
        for_user = pairs.matching(Recheck(None, one))
        assert sorted(for_user) == sorted(pair for pair in model if pair[1] == one)
        for other in "abc":
            assert pairs.get((one, other)) == model.get((one, other))


class Counted(str):
    """An id that counts how often it is compared or hashed."""

    __slots__ = ()
    touched = 0

    def __hash__(self) -> int:
        Counted.touched += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Counted.touched += 1
        return super().__eq__(other)


def test_a_recheck_touches_only_what_it_concerns() -> None:
    """Hundreds of other pairs in the cache and in queries in flight are not touched."""
    made = AccessCache()
    strangers = [(Counted(f"p{n}"), Counted(f"u{n}")) for n in range(500)]
    queries = []
    for _ in range(2):
        for pair in strangers:
            made.request(pair, 0)
        queries.append(made.next_query(0))
    made.answered(queries[0], set(strangers), 0)
    Counted.touched = 0
    made.invalidate(Recheck("p", "u"))
    made.invalidate(Recheck("p", None))
    made.invalidate(Recheck(None, "u"))
    assert Counted.touched == 0
    made.invalidate(Recheck(None, "u7"))
    assert not made.allows(strangers[7], 0)
    assert Counted.touched < 100
