"""Which request bodies are read and which are refused."""

from typing import Final

from gateway.http.admin_api import DISCONNECT_PATH
from gateway.http.ticket_api import TICKET_PATH
from shared.http.connection import MAX_BODY_BYTES
from tests.integration.http.connections import (
    CHUNKED,
    GZIP,
    GZIPPED,
    PING,
    QUERY,
    answered,
    bare_gateway,
    connected,
    read_response,
    request,
    status,
)
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE
from tests.support.processes import WS_PATH, token
from tests.support.world import World

UPGRADES: Final = tuple(f"{name}: {value}" for name, value in UPGRADE.items())
LONG: Final = f"Content-Length: {MAX_BODY_BYTES + 1}"
EXPECT: Final = "Expect: 100-continue"
# each is answered, and then the connection is closed, though no more of the body comes
REFUSED_BODIES: Final = {
    "gzip to tickets": (request("POST", TICKET_PATH, *GZIP, body=GZIPPED), 415),
    "gzip to nowhere": (request("POST", "/nowhere", *GZIP, body=GZIPPED), 404),
    "gzip to readyz": (request("GET", "/readyz", *GZIP, body=GZIPPED), 400),
    "too long": (request("POST", TICKET_PATH, LONG), 413),
    "too long for an admin": (request("POST", DISCONNECT_PATH, LONG), 413),
    "long and read by nobody": (request("POST", "/nowhere", "Content-Length: 9999999"), 404),
    "too many chunks": (
        request("POST", TICKET_PATH, CHUNKED, body=(b"1000\r\n" + bytes(4096) + b"\r\n") * 5),
        413,
    ),
    "a coding below the chunks": (
        request("POST", TICKET_PATH, "Transfer-Encoding: gzip, chunked"),
        400,
    ),
    "chunks that are none": (request("POST", TICKET_PATH, CHUNKED, body=b"1\r\nxyz\r\n"), 400),
    "an expectation that nobody meets": (
        request("POST", TICKET_PATH, "Expect: a miracle", "Content-Length: 5"),
        417,
    ),
    "Expect where no body is read": (
        request("POST", "/nowhere", EXPECT, "Content-Length: 5"),
        417,
    ),
    "an upgrade with a body": (
        request("GET", WS_PATH + QUERY, *UPGRADES, "Content-Length: 5"),
        400,
    ),
    **{
        f"{method} {path} with a body": (request(method, path, "Content-Length: 5"), 400)
        for method in ("GET", "HEAD", "OPTIONS")
        for path in (WS_PATH, TICKET_PATH, DISCONNECT_PATH, "/metrics", "/healthz", "/nowhere")
    },
    "GET with chunks": (request("GET", "/readyz", CHUNKED), 400),
    "CONNECT": (request("CONNECT", "x:1"), 400),
    "pipelined": (request("GET", "/healthz") * 40, 200),
    "pipelined in part": (request("GET", "/healthz") + b"GET /he", 200),
    "no HTTP": (b"\x16\x03\x01\x00\x00\r\n\r\n", 400),
    "thousands of headers": (request("GET", "/healthz", *["A: b"] * 2000), 400),
    "a long URL": (request("GET", "/" + "x" * 9000), 400),
    "large headers": (
        request("GET", "/healthz", *(f"A{number}: {'x' * 8000}" for number in range(9))),
        431,
    ),
    "a declined upgrade": (
        request("GET", WS_PATH + QUERY, *UPGRADES, body=frame(PING, b"early")),
        401,
    ),
    "an upgrade by HEAD": (request("HEAD", WS_PATH + QUERY, *UPGRADES), 426),
    "an upgrade by POST": (request("POST", WS_PATH + QUERY, *UPGRADES), 405),
    "an upgrade by HTTP/1.0": (
        request("GET", WS_PATH + QUERY, *UPGRADES, version="1.0"),
        426,
    ),
}


async def test_requests_that_cost_more_than_they_should_are_refused(world: World) -> None:
    gateway = await bare_gateway(world, ADMIN_KEY="k" * 32, HANDSHAKE_SECONDS="0")
    told = {}
    for name, (sent, _) in REFUSED_BODIES.items():
        answer = await answered(gateway, sent)
        told[name] = status(answer) if answer else None
        assert answer.count(b"HTTP/1.") == 1, name
    assert told == {name: expected for name, (_, expected) in REFUSED_BODIES.items()}


async def test_bodies_are_read_where_they_are_expected(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    body = b'{"project_id": "%s"}' % world.apollo.encode()
    bearer = f"Authorization: Bearer {token(world.ada)}"
    length = f"Content-Length: {len(body)}"
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    async with connected(gateway.port) as (reader, writer):
        for _ in range(2):  # on one connection
            writer.write(request("POST", TICKET_PATH, bearer, length, body=body))
            assert await read_response(reader) == 201
            writer.write(request("POST", TICKET_PATH, bearer, CHUNKED, body=chunks))
            assert await read_response(reader) == 201
        writer.write(request("POST", TICKET_PATH, bearer, length, EXPECT))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert await read_response(reader) == 201
        writer.write(request("GET", "/healthz"))
        assert await read_response(reader) == 200
