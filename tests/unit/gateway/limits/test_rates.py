"""Limits on clients, users and addresses, at times that the test decides."""

import pytest

from gateway.limits.client_address import find_client, parse_networks
from gateway.limits.connection_limiter import (
    ConnectionLimiter,
    ConnectionLimits,
    ConnectionSlot,
)
from gateway.limits.rates import (
    AUTH_COST,
    PATIENCE_SECONDS,
    SUBSCRIBE_COST,
    Rate,
    RateLimiter,
    RateVerdict,
    SocketLimits,
    TokenBuckets,
)
from gateway.limits.slot_counter import SlotCounter

ONE_A_SECOND = Rate(per_second=1, burst=3)


def rate_limiter_of(limits: SocketLimits) -> RateLimiter:
    """The limiter of a user's only socket."""
    return RateLimiter(limits, 0, "ada", TokenBuckets(limits.replay_rate))


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
    limits = SocketLimits.plan(65_536, max_projects=0, messages_per_second=0)
    rate_limiter = rate_limiter_of(limits)
    rate_limiter.charge(10**9, 0)
    rate_limiter.charge_replay(10**9, 0)
    assert rate_limiter.judge(10**9, 0) is RateVerdict.FINE
    assert rate_limiter.wait_seconds(0) == 0


def test_slots_are_counted_for_each_key() -> None:
    slots: SlotCounter[str] = SlotCounter(2)
    assert [slots.take("a") for _ in range(3)] == [True, True, False]
    assert slots.take("b")
    slots.free("a")
    assert slots.take("a")
    for key in "aab":
        slots.free(key)
    assert len(slots) == 0
    assert all(SlotCounter[str](0).take("a") for _ in range(100))


LIMITS = SocketLimits(1024, 1, Rate(1, burst=3), Rate(10, burst=30))


@pytest.mark.parametrize(
    ("sent", "verdicts"),
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
        "reported once",
        "continues",
        "at once",
        "as much as may be owed",
        "reported again later",
        "slowed down",
    ],
)
def test_a_client_over_its_rate_gets_an_error_and_is_then_disconnected(
    sent: list[tuple[int, float]], verdicts: list[RateVerdict]
) -> None:
    rate_limiter = rate_limiter_of(LIMITS)
    assert [rate_limiter.judge(frames, now) for frames, now in sent] == verdicts


def test_a_client_is_not_read_until_its_debt_is_paid() -> None:
    rate_limiter = rate_limiter_of(LIMITS)
    assert rate_limiter.wait_seconds(0) == 0
    rate_limiter.judge(5, 0)
    assert rate_limiter.wait_seconds(0) == 2
    assert rate_limiter.wait_seconds(1.5) == 0.5
    assert rate_limiter.wait_seconds(2) == 0


def test_the_cost_of_messages_slows_a_client_down_but_is_no_flood() -> None:
    rate_limiter = rate_limiter_of(LIMITS)
    rate_limiter.charge(100, 0)
    assert rate_limiter.wait_seconds(0) == 97
    assert [rate_limiter.judge(0, 0), rate_limiter.judge(0, 0)] == [
        RateVerdict.TOO_FAST,
        RateVerdict.FINE,
    ]
    assert rate_limiter.judge(1, 0) is RateVerdict.FLOOD


def test_sockets_of_one_user_share_the_budget_of_replayed_rows() -> None:
    replays: TokenBuckets[str] = TokenBuckets(LIMITS.replay_rate)
    one, other = (RateLimiter(LIMITS, 0, "ada", replays) for _ in range(2))
    one.charge_replay(10**6, 0)
    assert other.wait_seconds(0) == one.wait_seconds(0) > 0
    assert RateLimiter(LIMITS, 0, "grace", replays).wait_seconds(0) == 0


def test_a_user_who_has_paid_takes_no_memory() -> None:
    replays: TokenBuckets[str] = TokenBuckets(LIMITS.replay_rate)
    rate_limiter = RateLimiter(LIMITS, 0, "ada", replays)
    rate_limiter.charge_replay(10, 0)
    assert len(replays) == 1
    assert rate_limiter.wait_seconds(10_000) == 0
    assert len(replays) == 0


def test_replayed_rows_have_a_separate_budget() -> None:
    rate_limiter = rate_limiter_of(LIMITS)
    rate_limiter.charge_replay(30, 0)
    assert rate_limiter.wait_seconds(0) == 0
    rate_limiter.charge_replay(10, 0)
    assert rate_limiter.wait_seconds(0) == 1
    assert rate_limiter.judge(1, 0) is RateVerdict.TOO_FAST
    rate_limiter.charge_replay(10**6, 0)
    rate_limiter.charge_replay(10**6, 0)
    assert rate_limiter.wait_seconds(0) == PATIENCE_SECONDS, (
        "one cursor may cause many: it is capped"
    )
    assert rate_limiter.judge(1, 0) is RateVerdict.FINE, (
        "reported already, and it has sent little"
    )


def test_a_page_may_resume_all_its_projects() -> None:
    """After a reconnect it subscribes to all projects at once, at old cursors."""
    limits = SocketLimits.plan(65_536, max_projects=100, messages_per_second=20)
    rate_limiter = rate_limiter_of(limits)
    for _ in range(100):
        assert rate_limiter.judge(1, 0) is RateVerdict.FINE
        rate_limiter.charge(SUBSCRIBE_COST, 0)
        rate_limiter.charge_replay(100, 0)
        assert rate_limiter.wait_seconds(0) == 0
    assert rate_limiter.judge(1, 0) is RateVerdict.FINE
    rate_limiter.charge(AUTH_COST, 0)
    assert rate_limiter.wait_seconds(0) == 0


def test_an_unlimited_number_of_projects_has_a_large_burst() -> None:
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
def test_the_client_is_the_last_address_that_is_not_a_trusted_proxy(
    peer: str | None, forwarded: list[str], trusted: list[str], client: str | None
) -> None:
    assert find_client(peer, forwarded, parse_networks(trusted)) == client


def test_an_invalid_network_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="must be addresses or networks") as refused:
        parse_networks(["10.0.0.0/8", "10.0.0.1/8"])
    assert "10.0.0.1" not in str(refused.value)


def make_limiter(**limits: int) -> tuple[ConnectionLimiter, Clock]:
    clock = Clock()
    none = {"max_sockets": 0, "max_per_address": 0, "max_per_user": 0, "max_failures": 0}
    return ConnectionLimiter(
        ConnectionLimits(**{**none, **limits}), (), "X-Forwarded-For", clock
    ), clock


@pytest.mark.parametrize(
    ("limits", "same", "other"),
    [
        ({"max_sockets": 1}, "maximum of open sockets", "maximum of open sockets"),
        ({"max_per_address": 1}, "this address", None),
        ({"max_per_user": 1}, "this user", None),
        ({}, None, None),
    ],
)
def test_a_slot_is_occupied_until_its_socket_is_closed(
    limits: dict[str, int], same: str | None, other: str | None
) -> None:
    limiter, _ = make_limiter(**limits)

    def connect(address: str | None, user: str) -> str | None:
        slot = ConnectionSlot(limiter, address)
        refusal = slot.refusal or slot.assign_user(user)
        slot.release()
        return None if refusal is None else refusal.message

    first = ConnectionSlot(limiter, "a")
    assert (first.refusal or first.assign_user("u")) is None
    refusal = connect("a", "u")
    assert refusal == same if same is None else same in (refusal or "")
    refusal = connect("b", "v")
    assert refusal == other if other is None else other in (refusal or "")
    first.release()
    assert connect("a", "u") is connect(None, "u") is None


def test_an_address_with_too_many_failures_has_to_wait() -> None:
    limiter, clock = make_limiter(max_failures=2)
    for _ in range(2):
        assert limiter.refuse_guessing("a") is None
        limiter.count_failure("a")
    refusal = limiter.refuse_guessing("a")
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (
        429,
        "rate_limited",
        30,
    )
    assert limiter.refuse_guessing("b") is None
    clock.now = 30
    assert limiter.refuse_guessing("a") is None
    for _ in range(9):
        limiter.count_failure(None)
    assert limiter.refuse_guessing(None) is None


def test_tickets_of_a_user_are_limited() -> None:
    limiter, clock = make_limiter()
    refusals = [limiter.count_ticket("u") for _ in range(101)]
    assert refusals[:100] == [None] * 100
    assert refusals[100] is not None
    assert limiter.count_ticket("v") is None
    clock.now = 1
    assert limiter.count_ticket("u") is None
