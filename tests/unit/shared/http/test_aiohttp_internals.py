"""The internals of aiohttp that we rely on exist. No release notes announce their change."""

import ast
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from shared.http import connection
from shared.http.connection import HttpConnection
from shared.http.upgrades import _parse_request

WHAT_TO_DO: Final = (
    "aiohttp has changed: adapt shared/http/connection.py and shared/http/upgrades.py, "
    "then raise its upper bound in pyproject.toml"
)
# of aiohttp's connection, which parses requests and writes responses
HANDLER: Final = {
    "_close": "the connection closes after the response",
    "_loop": "its event loop",
    "_message_tail": "bytes that follow an upgrade request",
    "_payload_parser": "what the bytes of an upgraded connection are fed to",
    "_request_count": "requests whose headers were parsed",
    "_request_handler": "what answers a request",
    "_task_handler": "the task that waits for requests",
    "_upgraded": "the request asked for an upgrade",
}
# methods that ours override, so aiohttp must still call them
OVERRIDDEN: Final = (
    "connection_lost",
    "connection_made",
    "data_received",
    "finish_response",
    "force_close",
    "handle_error",
)


@pytest.mark.parametrize("name", [*HANDLER, *OVERRIDDEN, "transport"])
def test_the_request_handler_has(name: str) -> None:
    assert hasattr(RequestHandler, name), f"RequestHandler.{name}: {WHAT_TO_DO}"


async def test_the_parser_takes_a_whole_handshake_at_once() -> None:
    head = (
        b"GET /ws?a=1&a=2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    )
    found = _parse_request(head + b"A: b\r\na: c\r\n\r\nearly", {"/ws": True})
    assert found is not None, WHAT_TO_DO
    request, early = found
    assert (request.method, tuple(request.version), early) == ("GET", (1, 1), b"early")
    assert request.headers.getall("A", ()) == ["b", "c"]
    assert request.query.getall("a", ()) == ["1", "2"]


async def test_a_request_that_needs_no_upgrade_is_taken_without_one() -> None:
    head = b"GET /sse?a=1 HTTP/1.0\r\nHost: x\r\n\r\n"
    found = _parse_request(head, {"/sse": False})
    assert found is not None, WHAT_TO_DO
    assert (found[0].path, tuple(found[0].version)) == ("/sse", (1, 0))
    assert _parse_request(head, {"/sse": True}) is None
    assert _parse_request(head, {"/s": False}) is None


async def test_the_server_has_a_request_handler() -> None:
    async def handle(_: web.BaseRequest) -> web.Response:
        raise NotImplementedError

    assert web.Server(handle).request_handler is handle, f"Server.request_handler: {WHAT_TO_DO}"


def private_attributes(path: str, *, of_self: bool) -> set[str]:
    """The private attributes that a module reads or sets, of ``self`` or of other objects."""
    return {
        node.attr
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and (isinstance(node.value, ast.Name) and node.value.id == "self") is of_self
    }


def test_all_internals_that_are_used_are_named_here() -> None:
    inherited = (
        private_attributes(connection.__file__, of_self=True) - vars(HttpConnection).keys()
    )
    assert inherited == set(HANDLER), "one is not named, or not used any more"
    assert not private_attributes(connection.__file__, of_self=False)
