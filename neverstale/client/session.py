"""The state of a client: what happens goes in, what is to be done comes out."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from neverstale.client.effects import (
    AskToken,
    CloseSocket,
    Deliver,
    Effect,
    Fail,
    Input,
    NoToken,
    OpenSocket,
    Send,
    SendToken,
    SocketClosed,
    Start,
    Subscribe,
    TextReceived,
    TokenReady,
    Unsubscribe,
    Warn,
)
from neverstale.client.errors import BadRequest, Forbidden, Refused, Unauthorized
from neverstale.client.frames import (
    CloseCode,
    Connected,
    Error,
    Frame,
    Liveness,
    MalformedFrame,
    Subscribed,
    TokenExpiring,
    parse_frame,
)
from neverstale.client.messages import Cursors, Status
from neverstale.client.subscriptions import Subscriptions

TOKEN_SECONDS: Final = 30.0  # for the app to make a token
CONNECT_SECONDS: Final = 10.0  # from opening the socket to `connected`
PONG_SECONDS: Final = 10.0  # from `ping` to the next frame of any type
STABLE_SECONDS: Final = 10.0  # a connection that lasted less does not reset the backoff
DRAIN_SECONDS: Final = 1.0  # come back from a draining gateway within this time, at random
BACKOFF_SECONDS: Final = 1.0  # bound of the first delay, which doubles with each failure

Phase: TypeAlias = Literal["token", "opening", "connected", "pinged", "waiting", "closed"]
TimerName: TypeAlias = Literal["session", "token", "subscribe"]


class Session:
    """One connection after another. Time and randomness are arguments.

    ``deadline``: when ``DeadlinePassed`` is due, in the caller's time; None: not at all.
    """

    def __init__(
        self,
        projects: Iterable[str],
        cursors: Cursors,
        *,
        can_renew: bool,
        max_backoff_seconds: float,
    ) -> None:
        self._can_renew = can_renew
        self._max_backoff_seconds = max_backoff_seconds
        self._effects: list[Effect] = []
        self._subscriptions = Subscriptions(projects, cursors, self._effects)
        self._phase: Phase = "closed"
        self._now = 0.0
        self._random = 0.0
        self._timers: dict[TimerName, float] = {}
        self._tries = 0
        self._retries = 0  # in a row, of what is repeated on an open socket
        self._connected_at = 0.0
        self._heartbeat_seconds = 0.0
        self._needs_new_token = False
        self._is_server_live = True
        self._refusal: str | None = None  # what the gateway says before it closes a socket
        self._error: str | None = None  # why the last attempt, socket or subscription failed
        self._warned: str | None = None
        self._status = Status(live=False)  # as delivered last

    @property
    def deadline(self) -> float | None:
        return min(self._timers.values(), default=None)

    def handle(self, input_: Input, *, now: float, random: float) -> list[Effect]:
        """Take in what happened, at *now* in seconds; *random* is in [0, 1)."""
        self._now, self._random = now, random
        match input_:
            case Start():
                self._connect()
            case Subscribe(project_id):
                if self._subscriptions.add(project_id) and self._is_connected:
                    self._subscriptions.subscribe()
            case Unsubscribe(project_id):
                self._subscriptions.remove(project_id, is_connected=self._is_connected)
            case TokenReady():
                self._use_token()
            case NoToken(error):
                self._miss_token(error)
            case TextReceived(text):
                self._receive_text(text)
            case SocketClosed(code, error):
                self._disconnected(error, code)
            case _:  # DeadlinePassed
                self._run_timers()
        self._report_status()
        effects = list(self._effects)
        self._effects.clear()
        return effects

    @property
    def _is_connected(self) -> bool:
        return self._phase in ("connected", "pinged")

    def _report_status(self) -> None:
        is_live = self._is_connected and self._is_server_live
        projects = self._subscriptions.subscribed if is_live else frozenset()
        status = Status(live=is_live, projects=projects, error=self._error)
        is_known = (status.live, status.projects) == (self._status.live, self._status.projects)
        if self._phase != "closed" and not is_known:
            self._status = status
            self._effects.append(Deliver(status, {}))

    def _connect(self) -> None:
        self._phase = "token"
        self._set_timer("session", TOKEN_SECONDS)
        self._ask_token()

    def _ask_token(self) -> None:
        self._effects.append(AskToken(self._needs_new_token))

    def _use_token(self) -> None:
        self._needs_new_token = False
        if self._is_connected:
            self._error = None
            self._effects.append(SendToken())
        elif self._phase == "token":
            self._phase = "opening"
            self._refusal = None
            self._set_timer("session", CONNECT_SECONDS)
            self._effects.append(OpenSocket(self._subscriptions.query()))

    def _miss_token(self, error: str | None) -> None:
        if error is None:
            self._fail(Unauthorized("there is no token"))
        elif self._is_connected:
            # The token in use is still valid: another one is wanted before it expires.
            self._warn(error)
            self._retry_later("token")
        elif self._phase == "token":
            self._disconnected(error)

    def _retry_later(self, name: TimerName) -> None:
        self._set_timer(name, self._backoff_seconds(self._retries))
        self._retries += 1

    def _backoff_seconds(self, tries: int) -> float:
        bound = min(self._max_backoff_seconds, BACKOFF_SECONDS * 2.0 ** min(tries, 32))
        return self._random * bound

    def _receive_text(self, text: str) -> None:
        try:
            frame = parse_frame(text)
        except MalformedFrame as exc:
            # The cursors predate this frame: it is sent again, in whatever form.
            self._disconnected(str(exc))
        else:
            self._receive(frame)

    def _receive(self, frame: Frame) -> None:
        if isinstance(frame, Connected):
            self._phase = "connected"
            self._connected_at = self._now
            self._heartbeat_seconds = frame.heartbeat_seconds
            self._is_server_live = True
            self._error = self._warned = self._refusal = None
            self._retries = 0
        if self._is_connected:
            self._phase = "connected"
            self._set_timer("session", self._heartbeat_seconds)
        self._subscriptions.receive(frame)
        match frame:
            case Liveness(is_live):
                self._is_server_live = is_live
                self._error = None if is_live else "the gateway says that changes do not arrive"
            case Subscribed():
                self._retries = 0
            case TokenExpiring() if self._can_renew:
                self._needs_new_token = True
                self._ask_token()
            case Error():
                self._receive_error(frame)
            case _:
                pass

    def _receive_error(self, frame: Error) -> None:
        self._warn(str(frame))
        if not self._is_connected:
            self._refusal = str(frame)
        elif frame.project_id is not None:
            if self._subscriptions.phase(frame.project_id) == "idle":
                self._retry_later("subscribe")
        elif frame.code in ("unauthorized", "token_expired"):
            self._needs_new_token = True
            self._retry_later("token")

    def _run_timers(self) -> None:
        due: list[TimerName] = [name for name, at in self._timers.items() if at <= self._now]
        for name in due:
            # what is done for one may clear the others
            if self._timers.pop(name, None) is not None:
                self._timeout(name)

    def _timeout(self, name: TimerName) -> None:
        match name, self._phase:
            case "token", _:
                self._ask_token()
            case "subscribe", _:
                self._subscriptions.subscribe()
            case _, "waiting":
                self._connect()
            case _, "connected":
                self._phase = "pinged"
                self._set_timer("session", PONG_SECONDS)
                self._effects.append(Send({"type": "ping"}))
            case _, "token":
                self._disconnected("no token within 30 s")
            case _:
                self._disconnected("no answer from the gateway")

    def _disconnected(self, error: str, code: int | None = None) -> None:
        was_connected = self._is_connected
        if was_connected and self._now - self._connected_at >= STABLE_SECONDS:
            self._tries = 0
        reason = self._refusal or error
        self._warn(reason)
        self._leave()
        match code:
            case CloseCode.FORBIDDEN if was_connected:
                self._subscriptions.lose_access()
                self._wait_with_backoff()
            case CloseCode.FORBIDDEN | CloseCode.BAD_REQUEST:
                is_forbidden = code == CloseCode.FORBIDDEN
                is_project = not was_connected and self._subscriptions.refuse_in_url(
                    is_forbidden=is_forbidden
                )
                if is_project:
                    self._connect()
                else:
                    self._fail(Forbidden(reason) if is_forbidden else BadRequest(reason))
            case CloseCode.UNAUTHORIZED if not self._can_renew:
                self._fail(Unauthorized(reason))
            case CloseCode.UNAUTHORIZED:
                self._needs_new_token = True
                if self._tries == 0:
                    self._tries = 1
                    self._connect()
                else:
                    self._wait_with_backoff()
            case CloseCode.DRAINING:
                self._wait(self._random * DRAIN_SECONDS)
            case _:
                self._wait_with_backoff()

    def _wait_with_backoff(self) -> None:
        self._wait(self._backoff_seconds(self._tries))
        self._tries += 1

    def _wait(self, seconds: float) -> None:
        self._phase = "waiting"
        self._set_timer("session", seconds)

    def _fail(self, error: Refused) -> None:
        self._leave()
        self._effects.append(Fail(error))

    def _leave(self) -> None:
        self._phase = "closed"
        self._timers.clear()
        self._subscriptions.disconnected()
        self._effects.append(CloseSocket())

    def _set_timer(self, name: TimerName, seconds: float) -> None:
        self._timers[name] = self._now + seconds

    def _warn(self, text: str) -> None:
        """Say what is wrong, and say it once if it repeats."""
        self._error = text
        if text != self._warned:
            self._warned = text
            self._effects.append(Warn(text))
