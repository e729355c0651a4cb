"""One race: a user comes and goes in a project while that user's sockets come and go, too."""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import aiohttp
import asyncpg
import jwt

from tests.chaos.browser import Heard
from tests.chaos.following import safe_text
from tests.chaos.kinds import GATEWAYS
from tests.chaos.record import Record
from tests.chaos.stack import GONE, SECRET, Database, Stack
from tests.chaos.world import made_id

ANSWER_SECONDS: Final = 8.0
RETRY_SECONDS: Final = 0.2
Kind: TypeAlias = Literal[
    "add", "remove", "give", "take", "delete", "create", "change", "connect", "drop"
]

_STEPS: Final[dict[Kind, int]] = {
    "add": 5,
    "remove": 5,
    "give": 3,
    "take": 4,
    "delete": 2,
    "create": 3,
    "change": 6,
    "connect": 10,
    "drop": 2,
}
# $1 the project, $2 the user, $3 the project's first owner
_WRITES: Final = {
    "add": "insert into project_members (project_id, user_id) select id, $2 from projects"
    " where id = $1 and $3::uuid is not null on conflict do nothing",
    "remove": "delete from project_members where project_id = $1 and user_id = $2"
    " and $3::uuid is not null",
    "give": "update projects set owner_id = $2 where id = $1 and $3::uuid is not null",
    "take": "update projects set owner_id = $3 where id = $1 and $2::uuid is not null",
    "delete": "delete from projects where id = $1 and $2::uuid <> $3::uuid",
    "create": "insert into projects (id, owner_id, name) select $1, $3, 'race'"
    " where $2::uuid is not null on conflict do nothing",
}
_CHANGE: Final = "select neverstale.notify('task', 'UPDATE', $1, $2)"
_HAS_ACCESS: Final = (
    "select exists (select from projects p where p.id = $1 and (p.owner_id = $2 or exists"
    " (select from project_members m where m.project_id = p.id and m.user_id = $2)))"
)


@dataclass(frozen=True)
class Step:
    """After a pause in seconds, do that; *seat* is of a ``connect`` or ``drop``."""

    pause: float
    kind: Kind
    seat: int
    in_band: bool


@dataclass(frozen=True)
class RacePlan:
    """What a seed decides; *plain*: of each seat, whether it is a plain client's."""

    seed: int
    project: str
    user: str
    plain: Sequence[bool]
    steps: Sequence[Step]


def plan_race(seed: int) -> RacePlan:
    """Steps so close that they meet on the way, with some of seconds between them."""
    random_ = random.Random(f"{seed} race")
    steps = [
        Step(
            random_.choice((0.0, random_.uniform(0, 0.03), random_.uniform(0, 0.4), 2.0)),
            random_.choices(list(_STEPS), list(_STEPS.values()))[0],
            random_.randrange(len(GATEWAYS)),
            random_.random() < 0.4,
        )
        for _ in range(random_.randint(10, 16))
    ]
    plain = [random_.random() < 0.3 for _ in GATEWAYS]
    return RacePlan(seed, made_id(random_), made_id(random_), plain, steps)


@dataclass
class Seat:
    """A client of one gateway; if it is not plain it resumes with the newest cursors it has."""

    name: str
    user: str
    project: str
    stack: Stack
    gateway: str
    is_plain: bool
    heard: list[Heard] = field(default_factory=list)
    is_subscribed: bool = False
    ended: int = 0  # subscriptions, by the gateway
    _cursors: dict[str, str] = field(default_factory=dict)
    _socket: aiohttp.ClientWebSocketResponse | None = None
    _ponged: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def channel(self) -> str:
        return f"project:{self.project}"

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    def has_heard(self, probe: str) -> bool:
        """Whether it was told of that last change of its project."""
        told = (heard.frame for heard in reversed(self.heard))
        return any(
            frame["type"] == "cache_invalidate"
            and (frame["project_id"], frame["resource"], frame["data"]["id"])
            == (self.project, "probe", probe)
            for frame in told
        )

    async def connect(self, *, in_band: bool) -> None:
        """Subscribe: on the live socket if there is one, else with a new one; then listen."""
        if self._socket is not None:
            await self._subscribe()
            return
        claims = {"sub": self.user, "exp": 4_000_000_000}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        query = [("since", cursor) for cursor in self._cursors.values()]
        in_band = in_band and not self.is_plain
        if not in_band:
            query.append(("project_id", self.project))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                socket = await self.stack.http.ws_connect(
                    f"http://127.0.0.1:{self.stack.links[f'clients->{self.gateway}'].port}"
                    "/api/v1/messages/ws",
                    params=query,
                    headers={"Authorization": f"Bearer {token}"},
                    protocols=() if self.is_plain else ("neverstale.v1",),
                    autoping=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._note("cannot connect")
            return
        if self.is_open:  # another step was quicker
            await socket.close()
            return
        self._socket = socket
        if in_band:
            await self._subscribe()
        await self._listen(socket)

    async def _subscribe(self) -> None:
        if self._socket is None or self.is_plain:
            return
        cursor = self._cursors.get(self.channel)
        message = {"type": "subscribe", "project_id": self.project}
        try:
            await self._socket.send_json(message | ({"since": cursor} if cursor else {}))
        except (ConnectionError, aiohttp.ClientError):
            self._note("cannot subscribe")

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.is_subscribed = self.is_plain
        async for message in socket:
            if message.type is aiohttp.WSMsgType.PONG:
                self._ponged.set()
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            self._note(safe_text(message.data))
            self.heard.append(Heard(self.stack.timeline.now(), frame))
            self._hear(frame)
        self._note(f"closed {socket.close_code}")
        self.ended += socket.close_code == 4403
        if self._socket is socket:
            self._socket, self.is_subscribed = None, False
        self._ponged.set()

    def _hear(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                self._cursors.update(frame["cursors"])
                self.is_subscribed = self.channel in frame["cursors"]
            case "reconnect":
                self._cursors.update(frame.get("cursors", {}))
            case "cache_invalidate" if not self.is_plain:
                self._cursors[frame["channel"]] = frame["cursor"]
            case "subscribed":
                self._cursors[self.channel] = frame["cursor"]
                self.is_subscribed = True
            case "unsubscribed":
                self.ended += 1
                self.is_subscribed = False
            case _:
                pass

    async def drop(self) -> None:
        if self._socket is not None:
            socket, self._socket, self.is_subscribed = self._socket, None, False
            await socket.close()

    async def catch_up(self) -> None:
        """Return when all that was written to it has come, or it is closed."""
        if self._socket is not None:
            self._ponged.clear()
            with suppress(ConnectionError, aiohttp.ClientError):
                await self._socket.ping()
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ponged.wait()

    def _note(self, what: str) -> None:
        self.stack.timeline.note(self.name, what)


class Race:
    """Plays one plan; ``record`` knows when its user had access, as the database had it."""

    def __init__(self, plan: RacePlan, stack: Stack, owner: str) -> None:
        self.plan = plan
        self.record = Record(stack.timeline.now)
        self.seats = [
            Seat(f"race {plan.seed} {at}", plan.user, plan.project, stack, at, is_plain)
            for at, is_plain in zip(GATEWAYS, plan.plain, strict=True)
        ]
        self._stack = stack
        self._owner = owner
        self._random = random.Random(f"{plan.seed} ids")
        self._database: Database | None = None

    @property
    def pair(self) -> tuple[str, str]:
        return (self.plan.project, self.plan.user)

    async def run(self, listening: asyncio.TaskGroup) -> None:
        """Do the steps; the sockets stay open behind it."""
        for step in self.plan.steps:
            await asyncio.sleep(step.pause)
            seat = self.seats[step.seat]
            if step.kind == "connect":
                listening.create_task(seat.connect(in_band=step.in_band))
            elif step.kind == "drop":
                await seat.drop()
            else:
                await self._write(step.kind)
        self._end_session()

    def _end_session(self) -> None:
        if self._database is not None:
            self._database.terminate()
            self._database = None

    async def _write(self, kind: str) -> None:
        """Write until the database has taken it, then look who has access."""
        sent_at, project, user = self.record.now(), *map(UUID, self.pair)
        self._note(kind)
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    database = await self._connected()
                    if kind == "change":
                        id_ = made_id(self._random)
                        change = self.record.sent(kind, [(self.plan.project, "task", id_)])
                        await database.execute(_CHANGE, self.plan.project, id_)
                        change.acked_at = self.record.now()
                    else:
                        await database.execute(_WRITES[kind], project, user, UUID(self._owner))
                    has_access = await database.fetchval(_HAS_ACCESS, project, user)
            except (*GONE, asyncpg.PostgresError) as exc:
                self._note(f"{kind}: {type(exc).__name__}")
                self._end_session()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.record.saw_access({self.pair} if has_access else set(), sent_at=sent_at)
            self._note(f"{kind} is done: {'has' if has_access else 'has no'} access")
            return

    async def _connected(self) -> Database:
        if self._database is None:
            self._database = await asyncpg.connect(self._stack.database_url)
        return self._database

    def _note(self, what: str) -> None:
        self._stack.timeline.note(f"race {self.plan.seed}", what)
