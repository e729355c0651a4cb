"""Looks at a gateway as a client does, for ``find_in_gateway`` to judge."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from operations.check.connection_findings import Handshake, Stream
from operations.check.gateway_findings import (
    FOREIGN_ORIGIN,
    FORGED_ADDRESSES,
    GatewayFacts,
)
from shared.protocol.frames import SUBPROTOCOL

ANSWER_SECONDS: Final = 5.0
STREAM_SECONDS: Final = 5.0  # for the first event of a stream, which is sent at once
WS_PATH: Final = "/api/v1/messages/ws"
_SSE_PATH: Final = "/api/v1/messages/sse"
STATUS_PATH: Final = "/api/v1/status"
_TICKET_PATH: Final = "/api/v1/messages/ticket"
# headers in which proxies name the client's address; one of them may be CLIENT_ADDRESS_HEADER
_ADDRESS_HEADERS: Final = (
    "X-Forwarded-For",
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fly-Client-IP",
)
_DAY_SECONDS: Final = 86_400
_STREAM_TYPE: Final = "text/event-stream"


async def read_gateway(
    http: aiohttp.ClientSession,
    url: str,
    *,
    origins: Sequence[str] = (),
    token: str = "",
    project: str = "",
    admin_key: str = "",
) -> tuple[GatewayFacts, float | None]:
    """Return the facts, and by how many seconds the gateway's clock is ahead (None: unknown).

    The gateway counts the handshake without a token as no failure.
    """
    facts, clock_ahead = await _read_health(http, GatewayFacts(url))
    if facts.error or facts.health != HTTPStatus.OK:
        return facts, clock_ahead
    ready, body = await _get(http, f"{url}/readyz")
    _, metrics = await _get(http, f"{url}/metrics")
    facts = replace(
        facts,
        ready=ready,
        readiness=_parse(body),
        shows_metrics=b"neverstale_" in metrics,
        plain=await shake_hands(http, url),
        with_token=await shake_hands(http, url, token, project) if token else None,
        stream=await _open_stream(http, url, token, project),
        allowed={
            origin: await _ask_origin(http, url, origin)
            for origin in (*origins, FOREIGN_ORIGIN)
        },
    )
    if admin_key:
        facts = await _read_status(http, facts, admin_key)
    return facts, clock_ahead


async def _read_health(
    http: aiohttp.ClientSession, facts: GatewayFacts
) -> tuple[GatewayFacts, float | None]:
    try:
        async with http.get(f"{facts.url}/healthz", allow_redirects=False) as response:
            ahead = _clock_ahead(response.headers.get("Date", ""))
            health = response.status
        days = await _days_left(facts.url)
        return replace(facts, health=health, certificate_days=days), ahead
    except aiohttp.ClientConnectorCertificateError as exc:
        reason = exc.certificate_error
        return replace(facts, is_untrusted=True, error=str(reason)), None
    except TimeoutError:
        return replace(facts, error=f"no answer within {ANSWER_SECONDS:.0f} s"), None
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        return replace(facts, error=str(exc) or type(exc).__name__), None


async def _days_left(url: str) -> float | None:
    """How long the certificate is valid; None without TLS.

    On a separate connection: aiohttp has given that of a short response away already.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return None
    context = ssl.create_default_context()
    async with asyncio.timeout(ANSWER_SECONDS):
        _, writer = await asyncio.open_connection(
            parts.hostname, parts.port or 443, ssl=context
        )
    certificate = writer.get_extra_info("peercert")
    writer.close()
    left = ssl.cert_time_to_seconds(certificate["notAfter"]) - datetime.now(UTC).timestamp()
    return left / _DAY_SECONDS


def _clock_ahead(date: str) -> float | None:
    """By how many seconds the time that an HTTP date names is ahead; None: it is no date."""
    with suppress(ValueError):
        # it has no fractions
        return parsedate_to_datetime(date).timestamp() + 0.5 - datetime.now(UTC).timestamp()
    return None


async def _get(
    http: aiohttp.ClientSession, url: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """The status and the body; 0 without an answer."""
    try:
        async with http.get(url, headers=headers, allow_redirects=False) as response:
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return 0, b""


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


async def _ask_origin(http: aiohttp.ClientSession, url: str, origin: str) -> str:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    try:
        async with http.options(f"{url}{_TICKET_PATH}", headers=headers) as response:
            return response.headers.get("Access-Control-Allow-Origin", "")
    except (aiohttp.ClientError, TimeoutError):
        return ""


async def shake_hands(
    http: aiohttp.ClientSession, url: str, token: str = "", project: str = ""
) -> Handshake:
    """Open a WebSocket as a v1 client does, and close it after its first frame."""
    try:
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            open_socket(http, url, token, project) as ws,
        ):
            message = await ws.receive()
            has_subprotocol = ws.protocol == SUBPROTOCOL
            while message.type is aiohttp.WSMsgType.TEXT:
                frame = _parse(message.data.encode()) or {}
                if frame.get("type") == "connected":
                    return Handshake(101, None, has_subprotocol)
                message = await ws.receive()
            return Handshake(101, ws.close_code, has_subprotocol, str(message.extra or ""))
    except aiohttp.WSServerHandshakeError as exc:
        return Handshake(exc.status, reason=f"status {exc.status}, {exc.message}")
    except TimeoutError:
        return Handshake(0, reason=f"no answer within {ANSWER_SECONDS:.0f} s")
    except aiohttp.ClientError as exc:
        return Handshake(0, reason=str(exc) or type(exc).__name__)


def open_socket(http: aiohttp.ClientSession, url: str, token: str, project: str) -> Any:
    """Return aiohttp's context manager of a v1 client's WebSocket."""
    return http.ws_connect(
        f"{url}{WS_PATH}",
        params={"project_id": project} if project else {},
        protocols=(SUBPROTOCOL, *([f"bearer.{token}"] if token else [])),
    )


async def _open_stream(
    http: aiohttp.ClientSession, url: str, token: str, project: str
) -> Stream:
    """Open an event stream as a client does, and close it after its first event."""
    headers = {"Accept": _STREAM_TYPE} | ({"Authorization": f"Bearer {token}"} if token else {})
    time = asyncio.get_running_loop().time
    started, stream = time(), Stream(0)
    try:
        async with (
            asyncio.timeout(STREAM_SECONDS),
            http.get(
                f"{url}{_SSE_PATH}",
                params={"project_id": project} if project else {},
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            stream = Stream(
                response.status, encoding=response.headers.get("Content-Encoding", "")
            )
            if response.status != HTTPStatus.OK:
                error = (_parse(await response.read()) or {}).get("error")
                code = error.get("code") if isinstance(error, dict) else None
                return replace(stream, refusal=str(code or ""))
            if response.content_type != _STREAM_TYPE:
                return replace(stream, reason=f"it is answered by {response.content_type}")
            seen = b""
            while b'"connected"' not in seen:
                piece = await response.content.readany()
                if not piece:
                    return replace(stream, reason="it ended before its first event")
                seen += piece
            return replace(stream, seconds=time() - started)
    except TimeoutError:
        reason = f"no answer within {STREAM_SECONDS:.0f} s"
        return replace(stream, is_silent=True, reason=reason)
    except aiohttp.ClientError as exc:
        return replace(stream, reason=str(exc) or type(exc).__name__)


async def _read_status(
    http: aiohttp.ClientSession, facts: GatewayFacts, admin_key: str
) -> GatewayFacts:
    addresses = []
    code, version = 0, ""
    for forged in ("", *FORGED_ADDRESSES):
        headers = dict.fromkeys(_ADDRESS_HEADERS, forged) if forged else {}
        headers["Authorization"] = f"Bearer {admin_key}"
        code, body = await _get(http, f"{facts.url}{STATUS_PATH}", headers)
        if code != HTTPStatus.OK:
            break
        status = _parse(body) or {}
        addresses.append(status.get("client", {}).get("address"))
        version = str(status.get("version", ""))
    return replace(facts, status_code=code, addresses=tuple(addresses), version=version)
