"""The operator's key: sessions end, and cannot be made without it."""

from aiohttp.test_utils import make_mocked_request

from gateway.http.admin_key import SESSION_COOKIE, SESSION_SECONDS, UNKNOWN_RATE, AdminKey
from gateway.limits.connection_limiter import ConnectionLimiter, ConnectionLimits

KEY = "a key for tests that is long enough"


class Times:
    now = 1_000_000.0
    clock = 0.0


def admin_key(times: Times, key: str = KEY) -> AdminKey:
    limits = ConnectionLimits(0, 0, 0, 0)
    limiter = ConnectionLimiter(limits, (), "X-Forwarded-For", lambda: times.clock)
    return AdminKey(key, limiter, clock=lambda: times.clock, now=lambda: times.now)


def has_session(key: AdminKey, session: str) -> bool:
    cookie = f"{SESSION_COOKIE}={session}"
    return key.has_session(make_mocked_request("GET", "/", headers={"Cookie": cookie}))


def test_a_session_lasts_for_some_hours() -> None:
    times = Times()
    session = admin_key(times).make_session()
    assert has_session(admin_key(times), session), "another gateway with the same key"
    times.now += SESSION_SECONDS - 1
    assert has_session(admin_key(times), session)
    times.now += 1
    assert not has_session(admin_key(times), session)


def test_a_session_of_another_key_or_without_one_does_not_count() -> None:
    times = Times()
    other = admin_key(times, KEY + "x").make_session()
    for session in (other, KEY, "", admin_key(times).make_session()[:-2] + "xx"):
        assert not has_session(admin_key(times), session)
    assert KEY not in admin_key(times).make_session()


def test_logins_from_unknown_addresses_share_one_limit() -> None:
    times = Times()
    key = admin_key(times)
    request = make_mocked_request("GET", "/")
    assert key.refuse_login(KEY, request) is None
    for _ in range(int(UNKNOWN_RATE.burst)):
        refusal = key.refuse_login("guess", request)
        assert refusal is not None
        assert refusal.status == 401
    refusal = key.refuse_login(KEY, request)
    assert refusal is not None
    assert refusal.status == 429
    bearer = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {KEY}"})
    assert key.refuse_request(bearer) is None, "nobody can shut the operator out"
    times.clock += 60
    assert key.refuse_login(KEY, request) is None
