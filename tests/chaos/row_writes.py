"""Writes of rows: single statements, bulk, COPY, moves, rollbacks and long transactions."""

import asyncio
import random
from typing import Final
from uuid import UUID

from tests.chaos.known_ids import made_id
from tests.chaos.plan import Write
from tests.chaos.transaction import RolledBack, Transaction

# Rows that another transaction moved away while this one waited for it are left alone.
_SOME: Final = (
    "project_id = $1 and id in"
    " (select id from tasks where project_id = $1 order by md5(id::text || $2) limit {0})"
)
_UPDATED_ROWS: Final = {"update": 1, "update many": 12, "bulk update": 1000}
_BURST_EVENTS: Final = 200


async def act(transaction: Transaction, write: Write) -> None:
    """Carry out one planned write. Raises ``RolledBack`` if it is to be rolled back."""
    random_ = random.Random(write.pick)
    project = transaction.known.projects[write.project]
    other = transaction.known.projects[write.other]
    if write.kind in _UPDATED_ROWS:
        await _update(transaction, project, write, _UPDATED_ROWS[write.kind])
        return
    match write.kind:
        case "insert":
            await _insert(transaction, project, random_)
        case "delete":
            sql = f"delete from tasks where {_SOME.format(1)} returning id"
            await transaction.touch(project, "task", sql, UUID(project), str(write.pick))
        case "upsert":
            await _upsert(transaction, project, write, random_)
        case "move":
            await _move(transaction, project, other, write)
        case "long transaction":
            await _update(transaction, project, write, 1)
            await asyncio.sleep(write.seconds)
            await _insert(transaction, other, random_)
        case "savepoint" | "roll back":
            await _undo_some(transaction, project, write, random_)
        case _:
            await _act_elsewhere(transaction, project, write, random_)


async def _act_elsewhere(
    transaction: Transaction, project: str, write: Write, random_: random.Random
) -> None:
    database = transaction.database
    match write.kind:
        case "rename the project":
            sql = "update projects set name = $2 where id = $1 returning id"
            await transaction.touch(project, "project", sql, UUID(project), str(write.pick))
        case "insert a sprint":
            sql = (
                "insert into sprints (id, project_id, name) values ($2, $1, 'new') returning id"
            )
            values = (UUID(project), UUID(made_id(random_)))
            await transaction.touch(project, "sprint", sql, *values)
        case "delete a sprint":
            await _delete_sprint(transaction, project, write)
        case "copy":
            guest = UUID(random_.choice(transaction.known.users))
            rows = [(UUID(made_id(random_)), UUID(project), guest, "copied") for _ in range(5)]
            columns = ("id", "project_id", "user_id", "body")
            await database.copy_records_to_table("messages", records=rows, columns=columns)
            transaction.row_keys += [(project, "message", str(row[0])) for row in rows]
        case "notify" | "burst":
            sql = (
                "select $2 || n from generate_series(1, $3) as n,"
                " lateral neverstale.notify('report', 'UPDATE', $1, $2 || n)"
            )
            count = _BURST_EVENTS if write.kind == "burst" else 1
            await transaction.touch(project, "report", sql, project, f"{write.pick}.", count)
        case "truncate":
            await database.execute("truncate messages")
        case _:
            raise ValueError(f"no such write: {write.kind}")


async def _insert(transaction: Transaction, project: str, random_: random.Random) -> None:
    sql = "insert into tasks (id, project_id, title) values ($2, $1, 'new') returning id"
    await transaction.touch(project, "task", sql, UUID(project), UUID(made_id(random_)))


async def _update(transaction: Transaction, project: str, write: Write, count: int) -> None:
    sql = (
        "update tasks set title = left(md5(title || $2), 12)"
        f" where {_SOME.format(count)} returning id"
    )
    await transaction.touch(project, "task", sql, UUID(project), str(write.pick))


async def _upsert(
    transaction: Transaction, project: str, write: Write, random_: random.Random
) -> None:
    """Half of the time a row that is there already."""
    sql = f"select id from tasks where {_SOME.format(1)}"
    found = await transaction.database.fetchval(sql, UUID(project), str(write.pick))
    id_ = found if random_.random() < 0.5 and found else UUID(made_id(random_))
    sql = (
        "insert into tasks (id, project_id, title) values ($2, $1, 'put') on conflict (id)"
        " do update set status = md5(tasks.status) where tasks.project_id = $1 returning id"
    )
    await transaction.touch(project, "task", sql, UUID(project), id_)


async def _move(transaction: Transaction, project: str, other: str, write: Write) -> None:
    sql = f"update tasks set project_id = $3 where {_SOME.format(1)} returning id"
    values = (UUID(project), str(write.pick), UUID(other))
    for id_ in await transaction.touch(project, "task", sql, *values):
        transaction.row_keys.append((other, "task", id_))


async def _delete_sprint(transaction: Transaction, project: str, write: Write) -> None:
    """Its tasks lose it by ON DELETE SET NULL, wherever they have been moved."""
    sql = "select id from sprints where project_id = $1 order by md5(id::text || $2) limit 1"
    sprint = await transaction.database.fetchval(sql, UUID(project), str(write.pick))
    tasks = await transaction.database.fetch(
        "select project_id, id from tasks where sprint_id = $1 for update", sprint
    )
    transaction.row_keys += [(str(row[0]), "task", str(row[1])) for row in tasks]
    sql = "delete from sprints where id = $1 returning id"
    await transaction.touch(project, "sprint", sql, sprint)


async def _undo_some(
    transaction: Transaction, project: str, write: Write, random_: random.Random
) -> None:
    """A change that is undone, between two that are not; or all are."""
    await _insert(transaction, project, random_)
    kept = list(transaction.row_keys)
    savepoint = transaction.database.transaction()
    await savepoint.start()
    await _update(transaction, project, write, 3)
    await savepoint.rollback()
    transaction.row_keys[:] = kept
    await _update(transaction, project, write, 1)
    if write.kind == "roll back":
        raise RolledBack
