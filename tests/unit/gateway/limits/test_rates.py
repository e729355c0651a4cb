"""How much one client may take, at times that the test decides."""

import pytest

from gateway.limits.client_address import find_client, parse_networks
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits
from gateway.limits.rates import (
    AUTH_COST,
    PATIENCE_SECONDS,
    SUBSCRIBE_COST,
    Rate,
    RateLimiter,
    RateVerdict,
    SlotCounter,
    SocketLimits,
    TokenBucket,
    TokenBuckets,
)

ONE_A_SECOND = Rate(per_second=1, burst=3)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("takes", "asked_at", "seconds"),
    [
        ([], 0, 0),
        ([0, 0], 0, 0),
        ([0, 0, 0], 0, 1),
        ([0, 0, 0, 0], 0, 2),
        ([0, 0, 0], 0.25, 0.75),
        ([0, 0, 0], 1, 0),
        ([0, 2, 2, 2], 2, 1),
        ([9, 9, 9], 0, 1),
    ],
    ids=[
        "never used",
        "within its burst",
        "burst used up",
        "in debt",
        "partly refilled",
        "refilled",
        "never over its burst",
        "a clock that goes back",
    ],
)
def test_a_bucket_says_how_long_to_wait(
    takes: list[float], asked_at: float, seconds: float
) -> None:
    buckets: TokenBuckets[str] = TokenBuckets(ONE_A_SECOND)
    for now in takes:
        buckets.take("a", now)
    assert buckets.wait_seconds("a", asked_at) == pytest.approx(seconds)
    assert buckets.wait_seconds("b", asked_at) == 0


def test_buckets_are_bounded_and_a_full_one_is_forgotten() -> None:
    buckets: TokenBuckets[int] = TokenBuckets(ONE_A_SECOND, max_buckets=3)
    for key in (1, 1, 1, 2, 1, 3, 4):
        buckets.take(key, 0)
    assert len(buckets) == 3
    assert buckets.wait_seconds(1, 0) > 0, "it was used later than 2"
    assert buckets.wait_seconds(4, 10) == 0
    assert len(buckets) == 2


def test_a_rate_of_nothing_is_no_limit() -> None:
    buckets: TokenBuckets[str] = TokenBuckets(Rate(0, 0))
    for _ in range(1000):
        buckets.take("a", 0)
    assert buckets.wait_seconds("a", 0) == len(buckets) == 0
    pacer = RateLimiter(SocketLimits.plan(65_536, max_projects=0, messages_per_second=0), 0)
    pacer.charge(10**9, 0)
    pacer.charge_replay(10**9, 0)
    assert pacer.judge(10**9, 0) is RateVerdict.FINE
    assert pacer.wait_seconds(0) == 0


def test_seats_are_counted_for_each_and_given_back() -> None:
    seats: SlotCounter[str] = SlotCounter(2)
    assert [seats.take("a") for _ in range(3)] == [True, True, False]
    assert seats.take("b")
    seats.free("a")
    assert seats.take("a")
    for key in "aab":
        seats.free(key)
    assert len(seats) == 0
    assert all(SlotCounter[str](0).take("a") for _ in range(100))


LIMITS = SocketLimits(1024, 1, Rate(1, burst=3), Rate(10, burst=30))


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ([(3, 0)], [RateVerdict.FINE]),
        ([(4, 0), (1, 0)], [RateVerdict.TOO_FAST, RateVerdict.FINE]),
        ([(4, 0), (5, 0)], [RateVerdict.TOO_FAST, RateVerdict.FLOOD]),
        ([(9, 0)], [RateVerdict.FLOOD]),
        ([(8, 0)], [RateVerdict.TOO_FAST]),
        (
            [(4, 0), (0, 3), (4, 4)],
            [RateVerdict.TOO_FAST, RateVerdict.FINE, RateVerdict.TOO_FAST],
        ),
        ([(4, 0), (1, 1), (1, 2)], [RateVerdict.TOO_FAST, RateVerdict.FINE, RateVerdict.FINE]),
    ],
    ids=[
        "burst",
        "told once",
        "goes on",
        "at once",
        "as much as may be owed",
        "told again later",
        "slowed down",
    ],
)
def test_who_sends_too_much_is_told_and_then_cut_off(
    sent: list[tuple[int, float]], told: list[RateVerdict]
) -> None:
    pacer = RateLimiter(LIMITS, 0)
    assert [pacer.judge(frames, now) for frames, now in sent] == told


def test_who_owes_is_not_read_until_it_has_paid() -> None:
    pacer = RateLimiter(LIMITS, 0)
    assert pacer.wait_seconds(0) == 0
    pacer.judge(5, 0)
    assert pacer.wait_seconds(0) == 2
    assert pacer.wait_seconds(1.5) == 0.5
    assert pacer.wait_seconds(2) == 0


def test_what_a_message_costs_slows_down_but_is_no_flood() -> None:
    pacer = RateLimiter(LIMITS, 0)
    pacer.charge(100, 0)
    assert pacer.wait_seconds(0) == 97
    assert [pacer.judge(0, 0), pacer.judge(0, 0)] == [RateVerdict.TOO_FAST, RateVerdict.FINE]
    assert pacer.judge(1, 0) is RateVerdict.FLOOD


def test_sockets_of_one_user_share_the_budget_of_replayed_rows() -> None:
    shared = TokenBucket(LIMITS.replay_rate, 0)
    one, other = RateLimiter(LIMITS, 0, shared), RateLimiter(LIMITS, 0, shared)
    one.charge_replay(10**6, 0)
    assert other.wait_seconds(0) == one.wait_seconds(0) > 0
    assert RateLimiter(LIMITS, 0).wait_seconds(0) == 0


def test_rows_that_were_replayed_have_a_budget_of_their_own() -> None:
    pacer = RateLimiter(LIMITS, 0)
    pacer.charge_replay(30, 0)
    assert pacer.wait_seconds(0) == 0
    pacer.charge_replay(10, 0)
    assert pacer.wait_seconds(0) == 1
    assert pacer.judge(1, 0) is RateVerdict.TOO_FAST
    pacer.charge_replay(10**6, 0)
    pacer.charge_replay(10**6, 0)
    assert pacer.wait_seconds(0) == PATIENCE_SECONDS, "one place may bring many: it is capped"
    assert pacer.judge(1, 0) is RateVerdict.FINE, "it was told, and has sent little"


def test_a_page_may_come_back_with_all_its_projects() -> None:
    """After a reconnect: each project is asked for at once, from a place of long ago."""
    limits = SocketLimits.plan(65_536, max_projects=100, messages_per_second=20)
    pacer = RateLimiter(limits, 0)
    for _ in range(100):
        assert pacer.judge(1, 0) is RateVerdict.FINE
        pacer.charge(SUBSCRIBE_COST, 0)
        pacer.charge_replay(100, 0)
        assert pacer.wait_seconds(0) == 0
    assert pacer.judge(1, 0) is RateVerdict.FINE
    pacer.charge(AUTH_COST, 0)
    assert pacer.wait_seconds(0) == 0


def test_any_number_of_projects_is_planned_for_as_many() -> None:
    some, any_number = (SocketLimits.plan(65_536, projects, 20) for projects in (100, 0))
    assert any_number.max_projects == 0
    assert any_number.rate.burst > some.rate.burst


PROXIES = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("8.8.8.8", [], [], "8.8.8.8"),
        ("8.8.8.8", ["1.1.1.1"], [], "8.8.8.8"),
        ("8.8.8.8", ["1.1.1.1"], PROXIES, "8.8.8.8"),
        ("10.0.0.1", [], [], None),
        ("127.0.0.1", ["1.1.1.1"], [], None),
        ("10.0.0.1", ["1.1.1.1"], PROXIES, "1.1.1.1"),
        ("10.0.0.1", ["9.9.9.9, 1.1.1.1"], PROXIES, "1.1.1.1"),
        ("10.0.0.1", ["9.9.9.9, 1.1.1.1,10.0.0.2"], PROXIES, "1.1.1.1"),
        ("10.0.0.1", ["9.9.9.9", "1.1.1.1"], PROXIES, "1.1.1.1"),
        ("10.0.0.1", ["1.1.1.1:5555"], PROXIES, "1.1.1.1"),
        ("10.0.0.1", ["[2001:db8::1]:5555"], PROXIES, "2001:db8::/64"),
        ("10.0.0.1", ["192.168.1.1"], PROXIES, "192.168.1.1"),
        ("192.168.1.1", [], PROXIES, "192.168.1.1"),
        ("10.0.0.1", [], PROXIES, None),
        ("10.0.0.1", ["10.0.0.9"], PROXIES, None),
        ("10.0.0.1", ["unknown"], PROXIES, None),
        ("10.0.0.1", ["1.1.1.1, unknown"], PROXIES, None),
        ("::ffff:10.0.0.1", ["1.1.1.1"], PROXIES, "1.1.1.1"),
        ("fd00::1", ["2606:4700:0:1:2:3:4:5"], PROXIES, "2606:4700:0:1::/64"),
        ("fe80::1%eth0", [], PROXIES, "fe80::/64"),
        (None, ["1.1.1.1"], PROXIES, None),
    ],
)
def test_the_client_is_the_last_who_is_no_trusted_proxy(
    peer: str | None, forwarded: list[str], trusted: list[str], client: str | None
) -> None:
    assert find_client(peer, forwarded, parse_networks(trusted)) == client


def test_what_is_no_network_is_refused_without_being_repeated() -> None:
    with pytest.raises(ValueError, match="must be addresses or networks") as refused:
        parse_networks(["10.0.0.0/8", "10.0.0.1/8"])
    assert "10.0.0.1" not in str(refused.value)


def door(**limits: int) -> tuple[ConnectionLimiter, Clock]:
    clock = Clock()
    none = {"max_sockets": 0, "max_per_address": 0, "max_per_user": 0, "max_failures": 0}
    return ConnectionLimiter(
        ConnectionLimits(**{**none, **limits}), (), "X-Forwarded-For", clock
    ), clock


@pytest.mark.parametrize(
    ("limits", "same", "other"),
    [
        ({"max_sockets": 1}, "all the sockets", "all the sockets"),
        ({"max_per_address": 1}, "this address", None),
        ({"max_per_user": 1}, "this user", None),
        ({}, None, None),
    ],
)
def test_a_seat_is_held_until_its_visit_ends(
    limits: dict[str, int], same: str | None, other: str | None
) -> None:
    entrance, _ = door(**limits)

    def come(address: str | None, user: str) -> str | None:
        with entrance.acquire(address) as slot:
            refusal = slot.refusal or slot.assign_user(user)
            return None if refusal is None else refusal.message

    with entrance.acquire("a") as first:
        assert (first.refusal or first.assign_user("u")) is None
        told = come("a", "u")
        assert told == same if same is None else same in (told or "")
        told = come("b", "v")
        assert told == other if other is None else other in (told or "")
    assert come("a", "u") is come(None, "u") is None


def test_an_address_that_guesses_waits() -> None:
    entrance, clock = door(max_failures=2)
    for _ in range(2):
        assert entrance.refuse_guessing("a") is None
        entrance.count_failure("a")
    refusal = entrance.refuse_guessing("a")
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (
        429,
        "rate_limited",
        30,
    )
    assert entrance.refuse_guessing("b") is None
    clock.now = 30
    assert entrance.refuse_guessing("a") is None
    for _ in range(9):
        entrance.count_failure(None)
    assert entrance.refuse_guessing(None) is None


def test_a_user_gets_so_many_tickets_and_no_more() -> None:
    entrance, clock = door()
    told = [entrance.count_ticket("u") for _ in range(101)]
    assert told[:100] == [None] * 100
    assert told[100] is not None
    assert entrance.count_ticket("v") is None
    clock.now = 1
    assert entrance.count_ticket("u") is None
