"""A TCP connection of the HTTP server, bounded in number, time and bytes.

aiohttp limits neither the number of connections nor the time for a request's headers nor their
total size, it decompresses bodies, and it reads bodies that no handler asks for. The limits
here rely on internals of its ``RequestHandler``, which parses requests and writes responses;
``tests/unit/shared/http/test_aiohttp_internals.py`` names them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from shared.http.body_rules import BodyHeaders, refuse_body
from shared.http.connection_limits import HttpConnectionLimiter
from shared.http.errors import encode_error, json_error
from shared.http.lingering import LINGER_SECONDS, LingeringConnection
from shared.http.upgrades import MAX_HEADER_BYTES, UpgradeHandler, UpgradeRequest

# A load balancer that reuses a connection while the server closes it loses a request, so the
# load balancer must be the first to close (Google's keeps idle connections for 600 s).
PROXY_KEEPALIVE_SECONDS: Final = 620.0
CLIENT_KEEPALIVE_SECONDS: Final = 15.0
MAX_BODY_BYTES: Final = 16 * 1024
# As sent: a chunk of one byte takes six, and a chunk extension has no limit of its own.
MAX_RAW_BODY_BYTES: Final = 8 * MAX_BODY_BYTES

_OPTIONS: Final[dict[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": PROXY_KEEPALIVE_SECONDS,  # the deadlines here are shorter or equal
    "lingering_time": 0,  # a body that no handler reads is not received
    "max_field_size": MAX_HEADER_BYTES,
}

log = logging.getLogger(__name__)


async def expectation_met(_: web.Request) -> None:
    """Do nothing: the ``Expect`` handler of routes with a body. The connection has told the
    client to continue before the route is called.
    """


class HttpConnection(RequestHandler):
    """Reads one request after the other, then lingers and ends.

    It hands a request that *upgrades* answers to that.

    Pipelining is not supported: the connection is closed after the response to the first
    request (RFC 9112, section 9.3.2: the client sends the others again).
    """

    __slots__ = (
        "_address",
        "_answer",
        "_deadline",
        "_limiter",
        "_raw_bytes",
        "_served",
        "_tcp",
        "_upgrades",
    )

    def __init__(
        self,
        server: web.Server,
        limiter: HttpConnectionLimiter,
        loop: asyncio.AbstractEventLoop,
        upgrades: UpgradeHandler | None = None,
    ) -> None:
        super().__init__(server, loop=loop, logger=log, **_OPTIONS)
        self._limiter = limiter
        self._upgrades = upgrades
        self._answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
        self._answer = server.request_handler
        self._request_handler = self._serve
        self._address: str | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._raw_bytes = 0  # received of the current headers or body
        self._served = 0  # requests whose response has begun
        self._tcp: asyncio.Transport  # also when aiohttp takes the client for gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None  # noqa: S101 just set
        self._tcp = self.transport
        self._address = self._limiter.opened(self._tcp)
        self._wait(self._limiter.limits.request_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._set_deadline(0)
        self._limiter.closed(self._tcp, self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._payload_parser is not None or self._upgraded:
            super().data_received(data)
        elif self._request_count > self._served:
            self._read_body(data)
        elif not self._close:
            self._read_head(data)
        if self._request_count > self._served + 1:
            self.close()  # after the response to the first request

    def _read_head(self, data: bytes) -> None:
        if self._served and data and not self._raw_bytes:
            self._set_deadline(self._limiter.limits.request_seconds)
        room = MAX_HEADER_BYTES - self._raw_bytes
        self._raw_bytes += len(data)
        piece = data[:room]
        super().data_received(piece)
        if self._request_count > self._served:
            # what follows the headers is a body, or part of another request
            self._raw_bytes = 0 if piece.endswith(b"\r\n\r\n") else 1
            if len(data) > room:
                self.data_received(data[room:])
        elif len(data) > room:
            self._refuse_head()

    def _read_body(self, data: bytes) -> None:
        self._raw_bytes += len(data)
        if self._raw_bytes <= MAX_RAW_BODY_BYTES:
            super().data_received(data)
            return
        self.close()  # after the response, if it does not need the rest
        if self.transport is not None:
            self.transport.pause_reading()

    def _refuse_head(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            message = f"headers must have at most {MAX_HEADER_BYTES} bytes"
            self.transport.write(encode_error(431, "bad_request", message))
        if self._task_handler is not None:
            self._task_handler.cancel()  # it waits for a request, or has not even begun to
        self.linger()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request whose headers were read."""
        paths = self._limiter.limits.body_paths
        is_expected = paths is None or request.path in paths
        headers = request.headers
        body = BodyHeaders(
            exists=request.body_exists,
            length=request.content_length,
            encodings=headers.getall("Content-Encoding", ()),
            transfer=headers.getall("Transfer-Encoding", ()),
            expect=headers.getall("Expect", ()),
        )
        refusal = refuse_body(
            request.method, body, is_expected=is_expected, max_bytes=MAX_BODY_BYTES
        )
        if refusal is not None:
            return json_error(refusal.status, "bad_request", refusal.message)
        if body.exists and is_expected:
            try:
                if body.expect and request.version >= HttpVersion11:
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await request.read()
            except web.HTTPRequestEntityTooLarge:
                message = f"the body must have at most {MAX_BODY_BYTES} bytes"
                return json_error(413, "bad_request", message)
            except RequestPayloadError:
                return json_error(400, "bad_request", "the body is malformed")
            except ConnectionError:
                return web.Response(status=499)  # the client has gone, and does not read this
        upgrades = self._upgrades
        if upgrades is not None and request.method == "GET":
            must_upgrade = upgrades.paths.get(request.path)
            if must_upgrade is False or (must_upgrade and self._upgraded):
                self._hand_over(request, upgrades)
                return web.Response()  # not written: aiohttp takes the client for gone
        self._set_deadline(0)
        self._limiter.slots.work(self)
        return await self._answer(request)

    def _hand_over(self, request: web.BaseRequest, upgrades: UpgradeHandler) -> None:
        early = self._message_tail
        if self._detach():
            upgrades.open(
                UpgradeRequest(self._tcp, self._limiter, self._address, request, early)
            )

    def _detach(self) -> bool:
        """Give up the connection: aiohttp takes the client for gone.

        Returns false if it is gone.
        """
        if self.transport is None or self.transport.is_closing():
            return False
        self.transport = None  # so that aiohttp does not close it
        self._set_deadline(0)
        self._limiter.slots.leave(self)
        super().connection_lost(None)
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        has_more = self._raw_bytes and not request.body_exists
        # before the response is written: the client may send the next request at once
        self._served += 1
        self._raw_bytes = 0
        if self.transport is None or self.transport.is_closing():
            if self.transport is not None:
                self._wait(LINGER_SECONDS)  # a client that reads nothing could hold it open
            return await super().finish_response(request, resp, start_time)
        is_declined = self._upgraded and self._payload_parser is None
        if is_declined or has_more or self._close or request.can_read_body:
            self._message_tail = b""  # frames for a WebSocket that was refused
            resp.force_close()
            if "Connection" in resp.headers:
                resp.headers["Connection"] += ", close"
        is_proxy = self._address is None
        self._wait(PROXY_KEEPALIVE_SECONDS if is_proxy else CLIENT_KEEPALIVE_SECONDS)
        sent, has_gone = await super().finish_response(request, resp, start_time)
        if self._close or not sent.keep_alive:
            self.linger()
        return sent, has_gone

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        # aiohttp would put the malformed request, perhaps with a token, in its log and answer
        log.debug("malformed request")
        response = json_error(status, "bad_request", "this is not an HTTP request")
        response.force_close()
        return response

    def linger(self) -> None:
        """End the connection, as ``LingeringConnection`` does."""
        if self._detach():
            LingeringConnection(self._tcp, self._limiter, self._address, LINGER_SECONDS)

    def abort(self) -> None:
        self._tcp.abort()

    def _wait(self, seconds: float) -> None:
        self._set_deadline(seconds)
        self._limiter.wait(self, self._address)

    def _set_deadline(self, seconds: float) -> None:
        """Abort the connection after so many seconds; 0: never."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(seconds, self._expire) if seconds else None

    def _expire(self) -> None:
        is_idle = self._served and not self._raw_bytes and self._request_count <= self._served
        if is_idle:
            self.abort()
        else:
            self._limiter.cut(self, "slow")
