"""The board's API: projects and their content, with access checked for each request."""

from typing import Final

import asyncpg
from aiohttp import web

from demo.answers import Refused, answer, read_body, read_text
from demo.crowd import Crowd
from demo.database import Pool, Row, statement
from demo.people import People

STATUSES: Final = ("todo", "doing", "done")
MAX_PER_SECOND: Final = 200
_PROJECTS: Final = statement("projects")
_PROJECT: Final = statement("project")
_MEMBERS: Final = statement("members")
_MESSAGES: Final = statement("messages")
_CHANGE_TASK: Final = statement("change_task")


class Board:
    """Handles the page's requests."""

    def __init__(self, pool: Pool, people: People, crowd: Crowd) -> None:
        self._pool = pool
        self._people = people
        self._crowd = crowd

    def routes(self) -> list[web.RouteDef]:
        one = "/api/projects/{project}"
        return [
            web.get("/api/projects", self._list_projects),
            web.post("/api/projects", self._add_project),
            web.get(one, self._read_project),
            web.patch(one, self._rename_project),
            web.delete(one, self._delete_project),
            web.get(f"{one}/sprints", self._list_sprints),
            web.post(f"{one}/sprints", self._add_sprint),
            web.patch(f"{one}/sprints/{{sprint}}", self._rename_sprint),
            web.delete(f"{one}/sprints/{{sprint}}", self._delete_sprint),
            web.get(f"{one}/tasks", self._list_tasks),
            web.post(f"{one}/tasks", self._add_task),
            web.patch(f"{one}/tasks/{{task}}", self._change_task),
            web.delete(f"{one}/tasks/{{task}}", self._delete_task),
            web.get(f"{one}/members", self._list_members),
            web.put(f"{one}/members/{{member}}", self._add_member),
            web.delete(f"{one}/members/{{member}}", self._remove_member),
            web.get(f"{one}/messages", self._list_messages),
            web.post(f"{one}/messages", self._add_message),
            web.get(f"{one}/crowd", self._read_crowd),
            web.put(f"{one}/crowd", self._set_crowd),
        ]

    async def _project(self, request: web.Request, *, owned: bool = False) -> Row:
        """Return the request's project if the user may see it (*owned*: owns it)."""
        user = self._people.user_of(request)
        project = await self._pool.fetchrow(_PROJECT, request.match_info["project"], user)
        if project is None:
            raise Refused(403, "forbidden", "there is no such project, or it is not yours")
        if owned and not project["is_owner"]:
            raise Refused(403, "forbidden", "only the project's owner may do that")
        return project

    async def _list_projects(self, request: web.Request) -> web.Response:
        return answer(await self._pool.fetch(_PROJECTS, self._people.user_of(request)))

    async def _add_project(self, request: web.Request) -> web.Response:
        user = self._people.user_of(request)
        name = read_text(await read_body(request), "name")
        sql = "insert into projects (owner_id, name) values ($1, $2) returning id, name"
        return _found(await self._pool.fetchrow(sql, user, name), 201)

    async def _read_project(self, request: web.Request) -> web.Response:
        return answer(await self._project(request))

    async def _rename_project(self, request: web.Request) -> web.Response:
        project = await self._project(request, owned=True)
        name = read_text(await read_body(request), "name")
        sql = "update projects set name = $2 where id = $1 returning id, name"
        return _found(await self._pool.fetchrow(sql, project["id"], name))

    async def _delete_project(self, request: web.Request) -> web.Response:
        project = await self._project(request, owned=True)
        await self._pool.execute("delete from projects where id = $1", project["id"])
        return answer({})

    async def _list_sprints(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        sql = "select id, name from sprints where project_id = $1 order by name, id"
        return answer(await self._pool.fetch(sql, project["id"]))

    async def _add_sprint(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        name = read_text(await read_body(request), "name")
        sql = "insert into sprints (project_id, name) values ($1, $2) returning id, name"
        return _found(await self._pool.fetchrow(sql, project["id"], name), 201)

    async def _rename_sprint(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        name = read_text(await read_body(request), "name")
        sql = (
            "update sprints set name = $3 where id = $1 and project_id = $2 returning id, name"
        )
        sprint = request.match_info["sprint"]
        return _found(await self._pool.fetchrow(sql, sprint, project["id"], name))

    async def _delete_sprint(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        sql = "delete from sprints where id = $1 and project_id = $2"
        await self._pool.execute(sql, request.match_info["sprint"], project["id"])
        return answer({})

    async def _list_tasks(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        sql = """
            select id, sprint_id, title, status from tasks
            where project_id = $1 order by created_at, id"""
        return answer(await self._pool.fetch(sql, project["id"]))

    async def _add_task(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        title = read_text(await read_body(request), "title")
        sql = """
            insert into tasks (project_id, title) values ($1, $2)
            returning id, sprint_id, title, status"""
        return _found(await self._pool.fetchrow(sql, project["id"], title), 201)

    async def _change_task(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        body = await read_body(request)
        title = read_text(body, "title") if "title" in body else None
        status, sprint = body.get("status"), body.get("sprint_id")
        if status not in (None, *STATUSES):
            raise Refused(400, "bad_request", f"status must be one of {', '.join(STATUSES)}")
        if not isinstance(sprint, str | None):
            raise Refused(400, "bad_request", "sprint_id must be an id or null")
        return _found(
            await self._pool.fetchrow(
                _CHANGE_TASK,
                request.match_info["task"],
                project["id"],
                title,
                status,
                "sprint_id" in body,
                sprint,
            )
        )

    async def _delete_task(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        sql = "delete from tasks where id = $1 and project_id = $2"
        await self._pool.execute(sql, request.match_info["task"], project["id"])
        return answer({})

    async def _list_members(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        return answer(await self._pool.fetch(_MEMBERS, project["id"]))

    async def _add_member(self, request: web.Request) -> web.Response:
        project = await self._project(request, owned=True)
        sql = """
            insert into project_members (project_id, user_id) values ($1, $2)
            on conflict do nothing"""
        try:
            await self._pool.execute(sql, project["id"], request.match_info["member"])
        except asyncpg.ForeignKeyViolationError as exc:
            raise Refused(404, "not_found", "there is no such user") from exc
        return answer({})

    async def _remove_member(self, request: web.Request) -> web.Response:
        member = request.match_info["member"]
        leaves = member == self._people.user_of(request)
        project = await self._project(request, owned=not leaves)
        sql = "delete from project_members where project_id = $1 and user_id = $2"
        await self._pool.execute(sql, project["id"], member)
        return answer({})

    async def _list_messages(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        return answer(await self._pool.fetch(_MESSAGES, project["id"]))

    async def _add_message(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        body = read_text(await read_body(request), "body")
        sql = """
            insert into messages (project_id, user_id, body) values ($1, $2, $3)
            returning id, user_id, body, created_at"""
        user = self._people.user_of(request)
        return _found(await self._pool.fetchrow(sql, project["id"], user, body), 201)

    async def _read_crowd(self, request: web.Request) -> web.Response:
        project = await self._project(request)
        return answer(self._crowd.state(str(project["id"])))

    async def _set_crowd(self, request: web.Request) -> web.Response:
        project = str((await self._project(request))["id"])
        per_second = (await read_body(request)).get("per_second")
        if type(per_second) is not int or not 0 <= per_second <= MAX_PER_SECOND:
            raise Refused(400, "bad_request", f"per_second must be 0 to {MAX_PER_SECOND}")
        await self._crowd.set_rate(project, per_second)
        return answer(self._crowd.state(project))


def _found(row: Row | None, status: int = 200) -> web.Response:
    if row is None:
        raise Refused(404, "not_found", "it does not exist (any more)")
    return answer(row, status)
