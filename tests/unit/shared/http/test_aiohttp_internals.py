"""The internals of aiohttp that we rely on exist. No release notes announce their change."""

import ast
import asyncio
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

from gateway.transport import frame_reader
from shared.http import connection
from shared.http.connection import HttpConnection

WHAT_TO_DO: Final = (
    "aiohttp has changed: adapt shared/http/connection.py and "
    "gateway/transport/frame_reader.py, then raise its upper bound in pyproject.toml"
)
# of aiohttp's connection, which parses requests and writes responses
HANDLER: Final = {
    "_close": "the connection closes after the response",
    "_loop": "its event loop",
    "_message_tail": "bytes that follow an upgrade request",
    "_pause_reading_for_buffer": "stop reading from the socket",
    "_payload_parser": "what the bytes of an upgraded connection are fed to",
    "_request_count": "requests whose headers were parsed",
    "_request_handler": "what answers a request",
    "_resume_reading_for_buffer": "read from the socket again",
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
WEBSOCKET: Final = {
    "_reader": "the queue of received messages",
    "_set_closed": "stop the heartbeat",
}
QUEUE: Final = {"_buffer": "messages that were not read yet"}


@pytest.mark.parametrize("name", [*HANDLER, *OVERRIDDEN, "transport"])
def test_the_request_handler_has(name: str) -> None:
    assert hasattr(RequestHandler, name), f"RequestHandler.{name}: {WHAT_TO_DO}"


@pytest.mark.parametrize("name", WEBSOCKET)
def test_the_websocket_has(name: str) -> None:
    assert hasattr(web.WebSocketResponse, name), f"WebSocketResponse.{name}: {WHAT_TO_DO}"


@pytest.mark.parametrize("name", [*QUEUE, "feed_eof", "set_exception"])
async def test_the_queue_of_messages_has(name: str) -> None:
    loop = asyncio.get_running_loop()
    queue = import_module("aiohttp.web_ws").WebSocketDataQueue(
        BaseProtocol(loop), 2**16, loop=loop
    )
    assert hasattr(queue, name), f"WebSocketDataQueue.{name}: {WHAT_TO_DO}"


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
    of_others = private_attributes(frame_reader.__file__, of_self=False)
    assert of_others <= {*HANDLER, *WEBSOCKET, *QUEUE}
    inherited = (
        private_attributes(connection.__file__, of_self=True) - vars(HttpConnection).keys()
    )
    assert inherited <= set(HANDLER)
    assert of_others | inherited == {*HANDLER, *WEBSOCKET, *QUEUE}, "one is not used any more"
