"""The end of a connection: what was written is still sent, what is received is dropped."""

import asyncio
from collections.abc import Callable
from typing import Final

from shared.http.connection_limits import HttpConnectionLimiter

LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 64 * 1024
ANSWER_BYTES: Final = 131  # the longest control frame of a WebSocket client


class LingeringConnection(asyncio.Protocol):
    """Takes a connection over from a protocol that has written its last bytes, and ends it.

    The connection is aborted when the client has closed its side, or after *seconds*. A close
    with unread bytes would reset the connection, and the client could lose what it was sent
    last (RFC 9112, section 9.6). Our side is closed at once or, if *is_answer* is given, when
    that finds the client's answer in the last ``ANSWER_BYTES`` received. *on_lost* is called
    when the connection is gone.
    """

    __slots__ = (
        "_deadline",
        "_is_answer",
        "_last_bytes",
        "_limiter",
        "_on_lost",
        "_received",
        "_transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        limiter: HttpConnectionLimiter,
        address: str | None,
        seconds: float,
        *,
        is_answer: Callable[[bytes], bool] | None = None,
        on_lost: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self._transport = transport
        self._limiter = limiter
        self._is_answer = is_answer
        self._on_lost = on_lost
        self._last_bytes = b""
        self._received = 0
        self._deadline = asyncio.get_running_loop().call_later(seconds, transport.abort)
        transport.set_protocol(self)
        limiter.wait(self, address)
        try:
            transport.resume_reading()
            if is_answer is None:
                transport.write_eof()
        except (OSError, RuntimeError):
            transport.abort()  # the client has gone

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Drop up to ``LINGER_BYTES``, so that they do not reset the connection. More stays in
        the kernel, and makes the client wait.
        """
        self._received += len(data)
        if self._is_answer is not None:
            self._last_bytes = (self._last_bytes + data)[-ANSWER_BYTES:]
            if self._is_answer(self._last_bytes):
                self._transport.close()
                return
        if self._received > LINGER_BYTES:
            self._transport.pause_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._deadline.cancel()
        self._limiter.closed(self._transport, self)
        if self._on_lost is not None:
            self._on_lost(exc)
