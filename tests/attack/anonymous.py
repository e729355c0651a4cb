"""Attacks by peers that can connect to the gateway and have no token."""

import asyncio
import gzip
from functools import partial
from itertools import count, cycle
from typing import Final

from gateway.http.ticket_api import TICKET_PATH
from tests.attack.peer import Link, Peer, request
from tests.attack.registry import ANONYMOUS, Bounds, attack
from tests.support.frames import frame
from tests.support.handshakes import UPGRADE
from tests.support.processes import WS_PATH

PATHS: Final = (WS_PATH, TICKET_PATH, "/healthz", "/readyz", "/metrics", "/", "/nowhere")
DRIBBLE_SECONDS: Final = 0.3
_PINGS: Final = frame(9, b"", mask=bytes(4)) * 1000
_BOMB_BYTES: Final = 100_000_000
_SMALL: Final = Bounds(growth_mib=32)


_attack_on_few_descriptors: Final = partial(
    attack,
    ANONYMOUS,
    bounds=_SMALL,
    max_files=256,
    settings={"MAX_SOCKETS_PER_ADDRESS": "100", "MAX_SOCKETS": "200"},
)


@attack(ANONYMOUS, bounds=_SMALL)
async def refused_pings(peer: Peer) -> None:
    """Refused v1 handshakes with a bad token that keep sending small pings at full bandwidth.
    Refused sockets are not read and end soon, so the victim is not affected.
    """

    async def ping(link: Link) -> None:
        await link.upgrade("bad", project=peer.target.victim_project)
        await link.send_for_ever(_PINGS)

    await peer.repeat(ping)


@attack(ANONYMOUS, bounds=_SMALL)
async def gzip_bombs(peer: Peer) -> None:
    """Bodies of 100 kB that would inflate to 100 MB, to every path. Nothing is inflated."""
    bomb = gzip.compress(bytes(_BOMB_BYTES))
    paths = cycle(PATHS)

    async def throw(link: Link) -> None:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        await link.send(request("POST", next(paths), headers, bomb))
        await link.answer()

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def bodies_on_get(peer: Peer) -> None:
    """GET requests with endless bodies, by length and in chunks. They are refused, not read."""
    framings = cycle(({"Content-Length": str(2**40)}, {"Transfer-Encoding": "chunked"}))
    chunk = b"1000\r\n" + bytes(0x1000) + b"\r\n"
    paths = cycle(PATHS)

    async def throw(link: Link) -> None:
        await link.send(request("GET", next(paths), next(framings)))
        await link.send_for_ever(chunk)

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def chunk_extensions(peer: Peer) -> None:
    """A chunked body to the ticket endpoint in chunks of one byte, each with an extension of
    some kB. Bodies are bounded in time and bytes, and extensions count.
    """
    chunk = b"1;x=" + b"y" * 4000 + b"\r\nz\r\n"

    async def throw(link: Link) -> None:
        await link.send(request("POST", TICKET_PATH, {"Transfer-Encoding": "chunked"}))
        await link.send_for_ever(chunk)

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def dribbled_headers(peer: Peer) -> None:
    """Header blocks that never end, one line every 300 ms. They are cut off in time."""

    async def dribble(link: Link) -> None:
        await link.send(f"GET {WS_PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        for number in count():
            await link.send(f"X-{number}: y\r\n".encode())
            await asyncio.sleep(DRIBBLE_SECONDS)

    await peer.repeat(dribble)


@attack(ANONYMOUS, bounds=Bounds(growth_mib=12))
async def large_headers(peer: Peer) -> None:
    """Header blocks that never end, at full bandwidth. Their bytes are bounded: each costs
    some kB of memory, not everything that is sent.
    """
    lines = b"".join(f"X-{number}: {'y' * 4000}\r\n".encode() for number in range(4))

    async def pour(link: Link) -> None:
        await link.send(f"GET {WS_PATH} HTTP/1.1\r\nHost: x\r\n".encode())
        await link.send_for_ever(lines)

    await peer.repeat(pour)


@_attack_on_few_descriptors()
async def idle_connections(peer: Peer) -> None:
    """300 keep-alive connections that stay idle after a request, to a gateway with 256
    descriptors. They are counted by address and ended soon, so others can log in.
    """

    async def idle(link: Link) -> None:
        await link.send(request("GET", "/healthz"))
        await link.answer()
        await link.drop_answers()

    await peer.repeat(idle, connections=300)


@_attack_on_few_descriptors()
async def silent_connections(peer: Peer) -> None:
    """300 connections that send nothing, to a gateway with 256 descriptors: others log in."""

    async def wait(link: Link) -> None:
        await link.drop_answers()

    await peer.repeat(wait, connections=300)


@attack(ANONYMOUS, bounds=_SMALL)
async def pipelined_requests(peer: Peer) -> None:
    """Pipelined requests whose responses are not read: responses do not pile up in memory."""
    requests = request("GET", "/metrics") * 50

    async def pour(link: Link) -> None:
        while True:
            await link.send(requests)

    await peer.repeat(pour)


@attack(ANONYMOUS, bounds=_SMALL)
async def slow_bodies(peer: Peer) -> None:
    """Bodies to the ticket endpoint that arrive byte by byte. They time out soon."""

    async def dribble(link: Link) -> None:
        await link.send(request("POST", TICKET_PATH, {"Content-Length": "1000"}))
        while True:
            await link.send(b" ")
            await asyncio.sleep(DRIBBLE_SECONDS)

    await peer.repeat(dribble)


@attack(ANONYMOUS, bounds=_SMALL)
async def expected_continue(peer: Peer) -> None:
    """Expect: 100-continue on every path, followed by no body."""
    paths = cycle(PATHS)

    async def wait(link: Link) -> None:
        headers = {"Expect": "100-continue", "Content-Length": "1000"}
        await link.send(request("POST", next(paths), headers))
        await link.drop_answers()

    await peer.repeat(wait)


@attack(ANONYMOUS, bounds=_SMALL)
async def old_upgrades(peer: Peer) -> None:
    """Upgrades by HTTP/1.0 and other methods, followed by frames. No socket opens."""
    kinds = cycle((("GET", "1.0"), ("POST", "1.1"), ("PUT", "1.1"), ("GET", "0.9")))
    headers = {**UPGRADE, "Sec-WebSocket-Protocol": "neverstale.v1, bearer.bad"}

    async def throw(link: Link) -> None:
        method, version = next(kinds)
        await link.send(request(method, WS_PATH, headers, version=version) + _PINGS)
        await link.drop_answers()

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def long_queries(peer: Peer) -> None:
    """Handshakes with a thousand `since` in the query, and with a thousand subprotocols."""
    query = "&".join(f"since={number}" for number in range(700))
    protocols = ", ".join(["neverstale.v1", *(f"p{number}" for number in range(1000))])

    async def throw(link: Link) -> None:
        path = f"{WS_PATH}?project_id={peer.target.victim_project}&{query}"
        await link.send(request("GET", path, {**UPGRADE, "Sec-WebSocket-Protocol": protocols}))
        await link.answer()

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def churn(peer: Peer) -> None:
    """Connections that send half a request and are reset."""
    half = request("GET", WS_PATH, UPGRADE)[:-20]

    async def throw(link: Link) -> None:
        await link.send(half)
        link.reset()

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def garbage_bytes(peer: Peer) -> None:
    """Bytes that are not HTTP: a TLS hello, zeros, a WebSocket frame, an endless first line."""
    kinds = cycle((b"\x16\x03\x01\x02\x00" * 100, bytes(4000), _PINGS, b"GET /" + b"x" * 4000))

    async def throw(link: Link) -> None:
        await link.send_for_ever(next(kinds))

    await peer.repeat(throw)


@attack(ANONYMOUS, bounds=_SMALL)
async def bad_tokens(peer: Peer) -> None:
    """Handshakes with bad tokens at full rate from an address that is rate-limited: it is
    refused before its tokens are verified.
    """
    await _show_bad_tokens(peer)


@attack(ANONYMOUS, bounds=_SMALL, settings={"TRUSTED_PROXIES": ""})
async def bad_tokens_unnamed(peer: Peer) -> None:
    """The same from a private network's address, which is not rate-limited."""
    await _show_bad_tokens(peer)


async def _show_bad_tokens(peer: Peer) -> None:
    good = peer.token()
    numbers = count()

    async def show(link: Link) -> None:
        bearer = f"{good[:-8]}{next(numbers) % 10**8:08}"
        await link.upgrade(bearer, project=peer.target.victim_project, v1=False)

    await peer.repeat(show)


@attack(ANONYMOUS, bounds=_SMALL)
async def metrics(peer: Peer) -> None:
    """/metrics, /readyz and unknown paths at full rate, on kept connections."""
    paths = cycle(("/metrics", "/readyz", "/nowhere"))

    async def ask(link: Link) -> None:
        while True:
            await link.send(request("GET", next(paths)))
            await link.answer()

    await peer.repeat(ask)


@attack(ANONYMOUS, bounds=_SMALL)
async def half_closed(peer: Peer) -> None:
    """Refused v1 handshakes that neither answer the Close frame nor close."""

    async def stay(link: Link) -> None:
        await link.upgrade("bad", project=peer.target.victim_project)
        link.writer.write_eof()
        await link.drop_answers()

    await peer.repeat(stay)
