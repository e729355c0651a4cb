"""Writes that change who may see a project."""

import random
from typing import Final
from uuid import UUID

from tests.chaos.known_ids import made_id
from tests.chaos.plan import Write
from tests.chaos.transaction import Transaction

MOST_EXTRA: Final = 2
_MEMBER: Final = "insert into project_members (project_id, user_id) values ($1, $2)"
_CHILDREN: Final = {
    "task": "select id from tasks where project_id = $1 for update",
    "project_members": (
        "select project_id || ':' || user_id from project_members"
        " where project_id = $1 for update"
    ),
}


async def act(transaction: Transaction, write: Write) -> None:
    """Carry out one planned write."""
    random_ = random.Random(write.pick)
    known = transaction.known
    project, user = UUID(known.projects[write.project]), UUID(known.users[write.user])
    match write.kind:
        case "add a member":
            await _touch_member(
                transaction, f"{_MEMBER} on conflict do nothing returning", project, user
            )
        case "remove a member":
            sql = "delete from project_members where project_id = $1 and user_id = $2 returning"
            await _touch_member(transaction, sql, project, user)
        case "change the owner":
            sql = "update projects set owner_id = $2 where id = $1 returning id"
            await transaction.touch(str(project), "project", sql, project, user)
        case "create a project":
            await _create_project(transaction, user, random_)
        case "delete a project":
            await _delete_project(transaction)
        case "create a guest":
            await _create_guest(transaction, project, random_)
        case "delete a guest":
            await _delete_guest(transaction)
        case _:
            raise ValueError(f"no such write: {write.kind}")


async def _touch_member(transaction: Transaction, sql: str, project: UUID, user: UUID) -> None:
    sql += " project_id || ':' || user_id"
    await transaction.touch(str(project), "project_members", sql, project, user)


async def _create_project(
    transaction: Transaction, owner: UUID, random_: random.Random
) -> None:
    known = transaction.known
    if len(known.extra) >= MOST_EXTRA:
        await _delete_project(transaction)
    project = UUID(made_id(random_))
    sql = "insert into projects (id, owner_id, name) values ($1, $2, 'extra') returning id"
    await transaction.touch(str(project), "project", sql, project, owner)
    for user in random_.sample(known.users, 2):
        await _touch_member(transaction, f"{_MEMBER} returning", project, UUID(user))
    for _ in range(5):
        sql = "insert into tasks (id, project_id, title) values ($2, $1, 'new') returning id"
        values = (project, UUID(made_id(random_)))
        await transaction.touch(str(project), "task", sql, *values)
    known.extra.append(str(project))  # if it is not committed, deleting it does nothing


async def _delete_project(transaction: Transaction) -> None:
    """Its rows go with it, by cascade."""
    if transaction.known.extra:
        project = transaction.known.extra.pop(0)
        for resource, sql in _CHILDREN.items():
            await transaction.touch(project, resource, sql, UUID(project))
        sql = "delete from projects where id = $1 returning id"
        await transaction.touch(project, "project", sql, UUID(project))


async def _create_guest(
    transaction: Transaction, project: UUID, random_: random.Random
) -> None:
    guest = UUID(made_id(random_))
    await transaction.database.execute("insert into users values ($1, 'guest')", guest)
    await _touch_member(transaction, f"{_MEMBER} returning", project, guest)
    sql = (
        "insert into messages (id, project_id, user_id, body)"
        " values ($2, $1, $3, 'hello') returning id"
    )
    values = (project, UUID(made_id(random_)), guest)
    await transaction.touch(str(project), "message", sql, *values)
    transaction.known.guests.append(str(guest))


async def _delete_guest(transaction: Transaction) -> None:
    """Messages and memberships go with them, by cascade, in many projects."""
    if transaction.known.guests:
        guest = UUID(transaction.known.guests.pop(0))
        messages = await transaction.database.fetch(
            "select project_id, id from messages where user_id = $1 for update", guest
        )
        transaction.row_keys += [(str(row[0]), "message", str(row[1])) for row in messages]
        await transaction.database.execute("delete from users where id = $1", guest)
