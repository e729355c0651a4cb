"""The users, projects and first rows of a scenario."""

import random
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.plan import USERS, Scenario
from tests.support.database import Database

GUESTS: Final = 4
TASKS: Final = 70  # more than bulk_threshold, so that a bulk update is one
SPRINTS: Final = 3
MESSAGES: Final = 8


@dataclass
class KnownIds:
    """Ids of users and projects. ``extra`` projects and ``guests`` are created and deleted.

    No browser belongs to a guest.
    """

    users: list[str]
    projects: list[str]
    extra: list[str] = field(default_factory=list)
    guests: list[str] = field(default_factory=list)


def made_id(random_: random.Random) -> str:
    """Return a UUID that the random generator decides."""
    digits = f"{random_.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


async def insert_first_rows(database: Database, scenario: Scenario) -> KnownIds:
    """Fill an empty database. Return the ids of users and projects."""
    random_ = random.Random(f"{scenario.seed} world")
    known = KnownIds(
        [made_id(random_) for _ in range(USERS)],
        [made_id(random_) for _ in scenario.owners],
        guests=[made_id(random_) for _ in range(GUESTS)],
    )
    await database.executemany(
        "insert into users (id, name) values ($1, 'user')",
        [(user,) for user in (*known.users, *known.guests)],
    )
    for number, project in enumerate(known.projects):
        await database.execute(
            "insert into projects (id, owner_id, name) values ($1, $2, 'project')",
            project,
            known.users[scenario.owners[number]],
        )
        await _fill(database, random_, project, known.guests)
    await database.executemany(
        "insert into project_members (project_id, user_id) values ($1, $2)",
        [
            (known.projects[project], known.users[user])
            for project, user in sorted(scenario.members)
        ],
    )
    return known


async def _fill(
    database: Database, random_: random.Random, project: str, authors: list[str]
) -> None:
    sprints = [made_id(random_) for _ in range(SPRINTS)]
    await database.executemany(
        "insert into sprints (id, project_id, name) values ($1, $2, 'sprint')",
        [(sprint, project) for sprint in sprints],
    )
    await database.executemany(
        "insert into tasks (id, project_id, sprint_id, title) values ($1, $2, $3, 'task')",
        [(made_id(random_), project, random_.choice([*sprints, None])) for _ in range(TASKS)],
    )
    await database.executemany(
        "insert into messages (id, project_id, user_id, body) values ($1, $2, $3, 'body')",
        [(made_id(random_), project, random_.choice(authors)) for _ in range(MESSAGES)],
    )
