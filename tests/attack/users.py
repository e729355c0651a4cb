"""Attacks by one user with a valid token."""

import asyncio
from itertools import count, cycle
from typing import Final

from gateway.http.ticket_api import TICKET_PATH
from tests.attack.peer import Link, Peer, message, request
from tests.attack.registry import USER, Bounds, attack
from tests.attack.scene import ATTACKER, PROJECTS, Scene
from tests.support.frames import frame
from tests.support.processes import connected

SOCKETS: Final = 40
# pauses between frames: the highest rate at which a socket is not slowed down
RATE: Final = 19.0
ROWS: Final = 300
_PINGS: Final = frame(9, b"", mask=bytes(4)) * 500
_BIG: Final = frame(1, b'{"type":"x","y":"' + b"z" * 65_000 + b'"}', mask=bytes(4))
_FRAGMENTS: Final = frame(1, b"{", fin=False, mask=bytes(4)) + 500 * frame(
    0, b"", fin=False, mask=bytes(4)
)
_GARBAGE: Final = b"".join(
    frame(1, text, mask=bytes(4))
    for text in (
        b"",
        b"{}",
        b"[" * 500,
        b'{"type":7}',
        b'{"type":"subscribe"}',
        b"\xe2\x82\xac",
    )
)


async def _open(peer: Peer, link: Link, project: str | None = None, query: str = "") -> None:
    await link.upgrade(peer.token(), project=project or peer.target.projects[0], query=query)


async def _subscribe_to_all(peer: Peer, link: Link) -> None:
    for project in peer.target.projects[1:]:
        await link.send(message(type="subscribe", project_id=project))


async def _flood(peer: Peer, data: bytes) -> None:
    async def pour(link: Link) -> None:
        await _open(peer, link)
        await link.send_for_ever(data)

    await peer.repeat(pour)


@attack(USER)
async def auth_storm(peer: Peer) -> None:
    """40 sockets with a hundred projects each send the same token at the highest allowed rate.
    A repeated token costs nothing.
    """
    await _renew(peer, [peer.token()])


@attack(USER)
async def auth_storm_alternating(peer: Peer) -> None:
    """The same with different tokens. Access checks are coalesced per user."""
    await _renew(peer, [peer.token(jti=str(number)) for number in range(50)])


async def _renew(peer: Peer, tokens: list[str]) -> None:
    messages = cycle([message(type="auth", token=each) for each in tokens])

    async def renew(link: Link) -> None:
        await _open(peer, link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.drop_answers())
            await _subscribe_to_all(peer, link)
            while True:
                await link.send(next(messages))
                await asyncio.sleep(1 / RATE)

    await peer.repeat(renew, connections=SOCKETS)


@attack(USER)
async def pings(peer: Peer) -> None:
    """Floods of empty pings at full bandwidth. They are read in small pieces and ended."""
    await _flood(peer, _PINGS)


@attack(USER)
async def fragments(peer: Peer) -> None:
    """Floods of empty fragments of an endless message."""
    await _flood(peer, _FRAGMENTS)


@attack(USER)
async def garbage_messages(peer: Peer) -> None:
    """Floods of invalid messages. Each gets an error, then the socket is closed."""
    await _flood(peer, _GARBAGE)


@attack(USER)
async def big_messages(peer: Peer) -> None:
    """Messages of the maximum length at full bandwidth."""
    await _flood(peer, _BIG)


@attack(USER)
async def subscribing(peer: Peer) -> None:
    """Subscriptions to a hundred projects and to forbidden ones, ended and renewed at the
    highest allowed rate.
    """
    foreign = peer.target.victim_project

    async def subscribe(link: Link) -> None:
        await _open(peer, link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.drop_answers())
            for project in cycle((*peer.target.projects, foreign)):
                for kind in ("subscribe", "unsubscribe"):
                    await link.send(message(type=kind, project_id=project))
                    await asyncio.sleep(1 / RATE)

    await peer.repeat(subscribe)


async def _fill_logs(scene: Scene) -> None:
    """Take cursors of a hundred projects, then add some hundred rows to each of their logs."""
    world = scene.world
    async with connected(
        world.http, scene.gateway, scene.projects[0], ATTACKER, v1=True
    ) as client:
        for project in scene.projects[1:]:
            await client.socket.send_json({"type": "subscribe", "project_id": project})
        while len(scene.cursors) < PROJECTS:
            told = await client.next()
            cursors = [*told.get("cursors", {}).values(), told.get("cursor")]
            scene.cursors += [each for each in cursors if each and each.startswith("project:")]
    await world.database.execute(
        "select neverstale.notify('task', 'UPDATE', project, repeat('x', 200) || n)"
        " from unnest($1::text[]) as project, generate_series(1, $2::int) as n",
        scene.projects,
        ROWS,
    )
    async with world.client(scene.gateway, world.apollo, world.ada) as client:
        # the victim's row is published after all of them
        await world.database.execute(
            "select neverstale.notify('mark', 'UPDATE', $1, 'x')", world.apollo
        )
        await client.until(lambda told: told.get("resource") == "mark")


@attack(USER, before=_fill_logs)
async def never_reading(peer: Peer) -> None:
    """Sockets that resume a hundred old cursors and never read. No more is queued than the
    documented bound.
    """

    async def wait(link: Link) -> None:
        first, *rest = zip(peer.target.projects, peer.target.cursors, strict=True)
        await _open(peer, link, first[0], f"&since={first[1]}")
        for project, cursor in rest:
            await link.send(message(type="subscribe", project_id=project, since=cursor))
        while True:
            await asyncio.sleep(1)
            await link.send(frame(9, b"x" * 125, mask=bytes(4)))

    await peer.repeat(wait, connections=20)


@attack(USER, before=_fill_logs)
async def replaying(peer: Peer) -> None:
    """Sockets that read and resume the same hundred old cursors repeatedly."""

    async def resume(link: Link) -> None:
        places = list(zip(peer.target.projects, peer.target.cursors, strict=True))
        await _open(peer, link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.drop_answers())
            for project, cursor in cycle(places):
                await link.send(message(type="unsubscribe", project_id=project))
                await link.send(message(type="subscribe", project_id=project, since=cursor))
                await asyncio.sleep(2 / RATE)

    await peer.repeat(resume, connections=SOCKETS)


@attack(USER)
async def reconnecting(peer: Peer) -> None:
    """A user's maximum number of sockets, which connect, are greeted and leave in a loop."""

    async def visit(link: Link) -> None:
        await _open(peer, link)
        await link.reader.read(65536)

    await peer.repeat(visit)


@attack(USER)
async def tickets(peer: Peer) -> None:
    """Tickets requested at full rate on kept-alive connections."""
    headers = {"Authorization": f"Bearer {peer.token()}"}
    body = f'{{"project_id":"{peer.target.projects[0]}"}}'.encode()

    async def ask(link: Link) -> None:
        while True:
            await link.send(request("POST", TICKET_PATH, headers, body))
            await link.answer()

    await peer.repeat(ask)


@attack(USER)
async def unknown_projects(peer: Peer) -> None:
    """Handshakes for ever new projects that do not exist: each queries the database."""
    numbers = count()

    async def ask(link: Link) -> None:
        project = f"{next(numbers):08x}-0000-4000-8000-000000000000"
        await link.upgrade(peer.token(), project=project)
        await link.reader.read(65536)

    await peer.repeat(ask)


@attack(USER, bounds=Bounds(growth_mib=32))
async def foreign_cursors(peer: Peer) -> None:
    """Subscriptions with forged cursors: of other channels, far ahead, with endless digits."""
    project = peer.target.projects[0]
    forged = cycle(
        (
            f"project:{peer.target.victim_project}.0000000000000000.00000000.1",
            f"project:{project}.0000000000000000.00000000.{'9' * 4000}",
            f"project:{project}.0000000000000000.00000000.-1",
            "." * 5000,
        )
    )

    async def forge(link: Link) -> None:
        await _open(peer, link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.drop_answers())
            while True:
                await link.send(
                    message(type="subscribe", project_id=project, since=next(forged))
                )
                await asyncio.sleep(1 / RATE)

    await peer.repeat(forge)
