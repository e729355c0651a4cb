"""Rules: what keeps a gateway's clients from connecting, by WebSocket or by event stream."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from shared.protocol.close_codes import CloseCode
from shared.runtime.findings import Finding, problem


@dataclass(frozen=True, slots=True)
class Handshake:
    """How a handshake of a v1 client ended.

    ``status``: the HTTP status, 101 if the upgrade succeeded, 0 without any answer.
    ``close``: the close code that came instead of a greeting; None: the client was greeted.
    ``has_subprotocol``: the server has selected ``neverstale.v1``.
    """

    status: int
    close: int | None = None
    has_subprotocol: bool = True
    reason: str = ""

    @property
    def is_greeted(self) -> bool:
        return self.status == HTTPStatus.SWITCHING_PROTOCOLS and self.close is None


@dataclass(frozen=True, slots=True)
class Stream:
    """How a request for an event stream was answered.

    ``status``: the HTTP status, 0 without any answer. ``seconds``: until its first event; None:
    it had none in time. ``is_silent``: the time was up before the answer, or an event, came.
    ``refusal``: the code in the body of a gateway's own refusal. ``encoding``: how the answer
    is compressed.
    """

    status: int
    seconds: float | None = None
    is_silent: bool = False
    refusal: str = ""
    encoding: str = ""
    reason: str = ""


# what a gateway answers without a token
REFUSED_HANDSHAKE: Final = Handshake(HTTPStatus.SWITCHING_PROTOCOLS, CloseCode.UNAUTHORIZED)
REFUSED_STREAM: Final = Stream(HTTPStatus.UNAUTHORIZED, refusal="unauthorized")


def find_in_connections(
    url: str, plain: Handshake, with_token: Handshake | None, stream: Stream
) -> list[Finding]:
    """Return the findings.

    *plain* is a handshake without a token, *with_token* one with it, if there is one; so is the
    request for the *stream*.
    """
    return [
        *_find_in_upgrade(url, plain, with_token),
        *_find_in_stream(url, plain, with_token, stream),
    ]


def _find_in_upgrade(url: str, plain: Handshake, with_token: Handshake | None) -> list[Finding]:
    if plain.status == HTTPStatus.UNAUTHORIZED or (
        plain.status == HTTPStatus.SWITCHING_PROTOCOLS and not plain.has_subprotocol
    ):
        return [
            problem(
                "gateway.subprotocol",
                f"the proxy at {url} removes Sec-WebSocket-Protocol, which browsers send "
                "the token in",
                "make it pass the header on in both directions",
            )
        ]
    if plain.status != HTTPStatus.SWITCHING_PROTOCOLS:
        return [
            problem(
                "gateway.upgrade",
                f"no WebSocket can be opened at {url}: "
                f"{plain.reason or f'status {plain.status}'}",
                "make the proxy use HTTP/1.1 and pass Upgrade and Connection on",
            )
        ]
    if with_token is None or with_token.is_greeted:
        return []
    how = with_token.reason
    if with_token.close is not None:
        how = f"close code {with_token.close}: {how}"
        if with_token.close in (CloseCode.UNAUTHORIZED, CloseCode.FORBIDDEN):
            return [_token_refused(url, how)]
    return [
        problem(
            "gateway.not_greeted",
            f"{url} does not greet a client with the token: {how}",
            "see whether it is ready, and whether the proxy limits the length of headers",
        )
    ]


def _token_refused(url: str, how: str) -> Finding:
    return problem(
        "gateway.token_refused",
        f"{url} refuses the token with {how}",
        "compare its JWT_ settings and its [access] query with what the token says",
    )


def _find_in_stream(
    url: str, plain: Handshake, with_token: Handshake | None, stream: Stream
) -> list[Finding]:
    if stream.seconds is not None:
        return []
    if with_token is None:
        if stream.refusal == "unauthorized":
            return []  # by the gateway
        return [_no_stream(url, stream)]
    can_upgrade = plain.status == HTTPStatus.SWITCHING_PROTOCOLS
    if can_upgrade and not with_token.is_greeted:
        return []  # whatever keeps the WebSocket from being greeted
    if stream.is_silent:
        how = f" and compresses it ({stream.encoding})" if stream.encoding else ""
        return [
            problem(
                "gateway.sse_buffered",
                f"the proxy at {url} holds back what an event stream sends{how}: clients "
                "whose network blocks WebSockets get no events",
                "turn buffering and compression off for text/event-stream "
                "(nginx: proxy_buffering off)",
            )
        ]
    if stream.refusal == "unauthorized" and can_upgrade:
        return [
            problem(
                "gateway.sse_token",
                f"{url} accepts the token from a WebSocket, but not from an event stream: "
                "the proxy removes or replaces Authorization",
                "make it pass the header on",
            )
        ]
    if stream.refusal in ("unauthorized", "token_expired", "forbidden"):
        return [_token_refused(url, f"status {stream.status}, {stream.refusal}")]
    return [_no_stream(url, stream)]


def _no_stream(url: str, stream: Stream) -> Finding:
    return problem(
        "gateway.sse",
        f"no event stream can be opened at {url}: {stream.reason or f'status {stream.status}'}",
        "make the proxy pass GET /api/v1/messages/sse on, with Accept and Authorization",
    )
