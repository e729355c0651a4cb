"""How a client connects, notices that it is not connected, comes back, and ends."""

import pytest

from neverstale.client.effects import (
    AskToken,
    CloseSocket,
    DeadlinePassed,
    Fail,
    NoToken,
    OpenSocket,
    SendToken,
    Start,
    TextReceived,
    TokenReady,
    Warn,
)
from neverstale.client.errors import BadRequest, Forbidden, Refused, Unauthorized
from neverstale.client.messages import Reset, Status
from tests.unit.neverstale.client.driver import USER, Driver, project

CONNECTED = {**USER, **project("P")}
LIVE = Status(live=True, projects=frozenset("P"))


def connected(*, can_renew: bool = True) -> Driver:
    driver = Driver(can_renew=can_renew)
    driver.connect(CONNECTED)
    return driver


def refused(driver: Driver, code: int, error: str) -> None:
    """The gateway refuses the handshake: an error frame, then the close code."""
    driver.receive(type="error", code=error, message="no")
    driver.close(code)


def ended(driver: Driver) -> Refused:
    [failed] = driver.of(Fail)
    assert driver.of(CloseSocket)
    assert driver.session.deadline is None
    return failed.error


def test_it_asks_for_a_token_then_opens_a_socket() -> None:
    driver = Driver()
    assert driver.session.deadline is None
    assert driver.feed(Start()) == [AskToken(refresh=False)]
    assert driver.feed(TokenReady()) == [OpenSocket("project_id=P")]
    assert driver.delay == 10.0
    driver.greet(CONNECTED)
    assert driver.messages == [Reset(project_id=None, reason="gap"), LIVE]
    assert driver.delay == 30.0


def test_a_silent_socket_is_pinged_and_then_given_up() -> None:
    driver = connected()
    driver.pass_deadline()
    assert driver.sent == [{"type": "ping"}]
    assert driver.delay == 10.0
    driver.receive(type="pong")
    assert driver.delay == 30.0
    driver.pass_deadline()
    driver.pass_deadline()
    error = "no answer from the gateway"
    assert driver.effects[:2] == [Warn(error), CloseSocket()]
    assert driver.messages == [Status(live=False, error=error)]


def test_a_socket_that_does_not_open_is_given_up() -> None:
    driver = Driver()
    driver.open()
    driver.pass_deadline()
    assert driver.of(CloseSocket)
    assert driver.messages == []  # it was not live before
    assert driver.delay == 0.5


def test_a_token_that_never_comes_is_asked_for_again() -> None:
    driver = Driver()
    driver.feed(Start())
    assert driver.delay == 30.0
    driver.pass_deadline()
    assert driver.of(Warn) == [Warn("no token within 30 s")]
    assert driver.pass_deadline() == [AskToken(refresh=False)]


def test_a_timer_that_fires_early_does_nothing() -> None:
    driver = connected()
    driver.now += 29.0
    assert driver.feed(DeadlinePassed()) == []
    assert driver.delay == 1.0


def test_delays_double_up_to_the_limit_and_are_random() -> None:
    driver = Driver()
    driver.open()
    delays = []
    for _ in range(8):
        driver.close(None)
        delays.append(driver.delay)
        driver.pass_deadline()
        driver.feed(TokenReady())
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    driver.random = 0.1
    driver.close(None)
    assert driver.delay == 3.0


def test_only_a_stable_connection_starts_the_delays_over() -> None:
    driver = Driver()
    for seconds, delay in ((9.9, 0.5), (9.9, 1.0), (10.0, 0.5)):
        driver.connect(CONNECTED, CONNECTED)
        driver.now += seconds
        driver.close(1006)
        assert driver.delay == delay


def test_the_same_warning_comes_once_until_it_is_connected_again() -> None:
    driver = Driver()
    driver.open()
    assert driver.close(None)[0] == Warn("lost")
    driver.pass_deadline()
    driver.feed(TokenReady())
    assert driver.close(None)[0] == CloseSocket()
    driver.pass_deadline()
    driver.connect(CONNECTED)
    assert driver.close(None)[0] == Warn("lost")


def test_a_draining_gateway_is_left_for_another_one_soon() -> None:
    driver = connected()
    driver.random = 0.9
    driver.close(1012)
    assert driver.messages == [Status(live=False, error="lost")]
    assert driver.delay == 0.9
    driver.pass_deadline()
    driver.use_token()
    driver.greet(CONNECTED, CONNECTED)
    assert driver.messages == [LIVE]


def test_a_malformed_frame_closes_the_socket() -> None:
    driver = connected()
    driver.feed(TextReceived("{"))
    assert driver.effects[:2] == [Warn("malformed frame"), CloseSocket()]
    assert driver.delay == 0.5


def test_it_is_not_live_while_the_gateway_says_so() -> None:
    driver = connected()
    driver.receive(type="status", live=False)
    error = "the gateway says that changes do not arrive"
    assert driver.messages == [Status(live=False, error=error)]
    driver.receive(type="status", live=True)
    assert driver.messages == [LIVE]
    driver.receive(type="status", live=False)
    driver.close(None)
    assert driver.messages == []
    driver.pass_deadline()
    driver.use_token()
    driver.greet(CONNECTED, CONNECTED)  # a gateway that is not live says so right after
    assert driver.messages == [LIVE]


def test_a_token_is_renewed_before_it_expires() -> None:
    driver = connected()
    assert driver.receive(type="token_expiring", **{"in": 60}) == [AskToken(refresh=True)]
    assert driver.feed(TokenReady()) == [SendToken()]
    assert driver.receive(type="auth_ok", expires_in=3600) == []


def test_a_renewal_that_fails_is_tried_again() -> None:
    driver = connected()
    driver.receive(type="token_expiring", **{"in": 60})
    assert driver.feed(NoToken("no token: later")) == [Warn("no token: later")]
    assert driver.delay == 0.5
    assert driver.pass_deadline() == [AskToken(refresh=True)]
    driver.feed(TokenReady())
    driver.receive(type="error", code="token_expired", message="no")
    assert driver.delay == 1.0
    assert driver.pass_deadline() == [AskToken(refresh=True)]


def test_other_errors_are_only_logged() -> None:
    driver = connected()
    error = {"type": "error", "code": "rate_limited", "message": "slower"}
    assert driver.receive(**error) == [Warn("rate_limited: slower")]
    assert driver.delay == 30.0


def test_a_fixed_token_cannot_be_renewed() -> None:
    driver = connected(can_renew=False)
    assert driver.receive(type="token_expiring", **{"in": 60}) == []
    driver.receive(type="error", code="token_expired", message="it has expired")
    driver.close(4401)
    assert isinstance(ended(driver), Unauthorized)


def test_a_refused_token_is_replaced_at_once_and_then_with_delays() -> None:
    driver = Driver()
    driver.open()
    refused(driver, 4401, "token_expired")
    assert driver.of(AskToken) == [AskToken(refresh=True)]
    driver.feed(TokenReady())
    refused(driver, 4401, "unauthorized")
    assert driver.of(AskToken) == []
    assert driver.delay == 1.0
    assert driver.pass_deadline() == [AskToken(refresh=True)]


def test_a_refused_fixed_token_ends_it_with_the_reason() -> None:
    driver = Driver(can_renew=False)
    driver.open()
    refused(driver, 4401, "unauthorized")
    error = ended(driver)
    assert isinstance(error, Unauthorized)
    assert str(error) == "unauthorized: no"


def test_an_error_of_the_token_function_is_tried_again_later() -> None:
    driver = Driver()
    driver.feed(Start())
    driver.feed(NoToken("no token: later"))
    assert driver.delay == 0.5
    assert driver.pass_deadline() == [AskToken(refresh=False)]


def test_no_token_at_all_ends_it() -> None:
    driver = connected()
    driver.receive(type="token_expiring", **{"in": 60})
    driver.feed(NoToken(None))
    assert isinstance(ended(driver), Unauthorized)


def test_a_late_token_or_its_lack_changes_nothing() -> None:
    driver = Driver()
    driver.open()
    assert driver.feed(TokenReady()) == []
    assert driver.feed(NoToken("no token: later")) == []


@pytest.mark.parametrize(
    ("code", "reason"), [(4403, "forbidden"), (4400, "bad_request")], ids=str
)
def test_a_handshake_refused_for_a_project_is_repeated_without_it(
    code: int, reason: str
) -> None:
    driver = Driver("PQ", {**USER, **project("P")})
    driver.open()
    refused(driver, code, reason)
    assert driver.messages == [Reset(project_id="P", reason=reason)]
    assert driver.of(AskToken) == [AskToken(refresh=False)]
    assert driver.use_token() == "project_id=Q&since=user%3AU.g.r.1"


def test_a_handshake_refused_without_a_project_ends_it() -> None:
    driver = Driver(())
    driver.open()
    refused(driver, 4403, "forbidden")
    assert isinstance(ended(driver), Forbidden)


def test_a_bad_request_with_one_project_or_on_an_open_socket_ends_it() -> None:
    driver = Driver()
    driver.open()
    refused(driver, 4400, "bad_request")
    assert isinstance(ended(driver), BadRequest)
    driver = connected()
    driver.close(4400)
    assert isinstance(ended(driver), BadRequest)


def test_a_forbidden_project_alone_leaves_a_client_of_the_user() -> None:
    driver = Driver()
    driver.open()
    refused(driver, 4403, "forbidden")
    assert driver.use_token() == ""
    driver.greet(USER)
    assert driver.messages == [Reset(project_id=None, reason="gap"), Status(live=True)]


def test_lost_access_to_an_unnamed_project_resets_everything_and_shows_at_the_next_socket() -> (
    None
):
    driver = connected()
    driver.close(4403)
    assert driver.messages == [
        Reset(project_id=None, reason="forbidden"),
        Status(live=False, error="lost"),
    ]
    driver.pass_deadline()
    driver.use_token()
    refused(driver, 4403, "forbidden")
    assert driver.messages == [Reset(project_id="P", reason="forbidden")]


def test_what_ends_one_attempt_is_not_the_reason_of_the_next() -> None:
    driver = Driver(can_renew=False)
    driver.open()
    refused(driver, 1013, "unavailable")
    assert driver.of(Warn) == []  # said when the error arrived
    driver.pass_deadline()
    driver.feed(TokenReady())
    driver.close(4401)
    assert str(ended(driver)) == "lost"


def test_a_timer_that_is_due_with_the_end_of_the_socket_does_not_outlive_it() -> None:
    driver = connected()
    driver.pass_deadline()
    driver.random = 1.0
    driver.receive(type="token_expiring", **{"in": 60})
    driver.pass_deadline()  # pinged: given up in 10 s
    driver.feed(NoToken("no token: later"))  # asked for again in 1 s
    driver.now += 60.0
    driver.feed(DeadlinePassed())
    assert driver.of(CloseSocket)
    assert driver.of(AskToken) == []
    assert driver.delay == 1.0  # of the next attempt alone
