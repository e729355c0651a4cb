"""One race: a user gains and loses a project while that user's sockets connect and leave."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from uuid import UUID

import asyncpg

from tests.chaos.kinds import GATEWAYS
from tests.chaos.known_ids import made_id
from tests.chaos.race_client import ANSWER_SECONDS, RaceClient
from tests.chaos.record import Record
from tests.chaos.stack import ProxiedStack
from tests.support.database import GONE, Database

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
    """What to do after a pause. Only ``connect`` and ``drop`` use ``client``."""

    pause: float
    kind: Kind
    client: int
    in_band: bool


@dataclass(frozen=True)
class RacePlan:
    """What a seed decides. ``plain``: whether each client is a plain one."""

    seed: int
    project: str
    user: str
    plain: Sequence[bool]
    steps: Sequence[Step]


def plan_race(seed: int) -> RacePlan:
    """Return steps close enough to overlap, some with pauses of seconds between them."""
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


class Race:
    """Plays one plan. ``record`` has when its user had access according to the database."""

    def __init__(self, plan: RacePlan, stack: ProxiedStack, owner: str) -> None:
        self.plan = plan
        self.record = Record(stack.timeline.now)
        self.clients = [
            RaceClient(f"race {plan.seed} {at}", plan.user, plan.project, stack, at, is_plain)
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
        """Carry out the steps. The sockets stay open afterwards."""
        for step in self.plan.steps:
            await asyncio.sleep(step.pause)
            client = self.clients[step.client]
            if step.kind == "connect":
                listening.create_task(client.connect(in_band=step.in_band))
            elif step.kind == "drop":
                await client.drop()
            else:
                await self._write(step.kind)
        self._end_session()

    def _end_session(self) -> None:
        if self._database is not None:
            self._database.terminate()
            self._database = None

    async def _write(self, kind: str) -> None:
        """Retry a write until it is committed, then read who has access."""
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
