"""The demo's API: each user sees and does what is theirs, and nothing is kept on the way."""

from collections.abc import Mapping
from typing import Any

import pytest

from deploy.dev.servers import free_port
from tests.support.demo_data import TASK
from tests.support.processes import Part, token
from tests.support.world import World

SPRINT = "59000000-0000-4000-8000-000000000001"
NOWHERE = "00000000-0000-4000-8000-000000000000"


class Caller:
    """Sends requests to the API as one user, or as nobody."""

    def __init__(self, world: World, url: str, user_id: str | None) -> None:
        self._world = world
        self._url = url
        self._headers = {"Authorization": f"Bearer {token(user_id)}"} if user_id else {}

    async def __call__(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = self._headers if headers is None else headers
        request = self._world.http.request(
            method, f"{self._url}/api{path}", json=body, headers=sent
        )
        async with request as response:
            assert response.headers["Cache-Control"] == "no-store"
            return response.status, await response.json()


@pytest.fixture
async def demo(world: World) -> Part:
    port = free_port()
    part = Part("demo", world.environment(PORT=str(port), PAGE_FOLDER="nowhere"), port)
    world.parts.append(part)
    await part.start()
    await part.ready(world.http)
    return part


@pytest.fixture
def ada(world: World, demo: Part) -> Caller:
    return Caller(world, demo.url, world.ada)


@pytest.fixture
def grace(world: World, demo: Part) -> Caller:
    return Caller(world, demo.url, world.grace)


async def test_signing_in_gives_a_token_and_a_cookie_that_is_good_for_reads_alone(
    world: World, demo: Part
) -> None:
    nobody = Caller(world, demo.url, None)
    assert (await nobody("GET", "/projects"))[0] == 401
    assert [user["name"] for user in (await nobody("GET", "/users"))[1]] == ["Ada", "Grace"]
    async with world.http.post(
        f"{demo.url}/api/session", json={"user_id": world.ada}
    ) as response:
        granted = await response.json()
        cookie = response.cookies["access_token"]
    assert granted["user"] == {"id": world.ada, "name": "Ada"}
    assert granted["token"] == cookie.value
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")

    by_cookie = {"Cookie": f"access_token={cookie.value}"}
    status, projects = await nobody("GET", "/projects", headers=by_cookie)
    assert (status, [project["name"] for project in projects]) == (200, ["Apollo"])
    status, _ = await nobody("POST", "/projects", {"name": "Forged"}, by_cookie)
    assert status == 401
    assert (await nobody("POST", "/session", {"user_id": NOWHERE}))[0] == 404
    assert (await nobody("GET", "/projects", headers={"Authorization": "Bearer x"}))[0] == 401


async def test_who_is_not_in_a_project_can_neither_see_nor_change_it(
    world: World, ada: Caller
) -> None:
    gemini = f"/projects/{world.gemini}"
    for path in ("", "/tasks", "/sprints", "/members", "/messages", "/crowd"):
        assert (await ada("GET", f"{gemini}{path}"))[0] == 403
    for method, path, body in (
        ("PATCH", "", {"name": "Mine"}),
        ("DELETE", "", None),
        ("POST", "/tasks", {"title": "Mine"}),
        ("PUT", f"/members/{world.ada}", None),
        ("PUT", "/crowd", {"per_second": 1}),
    ):
        assert (await ada(method, f"{gemini}{path}", body))[0] == 403
    # nor by way of a project of their own
    other = await world.database.fetchval(
        "insert into tasks (project_id, title) values ($1, 'Secret') returning id", world.gemini
    )
    apollo = f"/projects/{world.apollo}"
    assert (await ada("PATCH", f"{apollo}/tasks/{other}", {"title": "Mine"}))[0] == 404
    await ada("DELETE", f"{apollo}/tasks/{other}")
    assert await world.database.fetchval("select title from tasks where id = $1", other)


async def test_a_member_works_in_a_project_and_its_owner_runs_it(
    world: World, ada: Caller, grace: Caller
) -> None:
    apollo = f"/projects/{world.apollo}"
    status, made = await grace("POST", f"{apollo}/tasks", {"title": " Polish the visor "})
    assert (status, made["title"], made["status"]) == (201, "Polish the visor", "todo")
    change = {"status": "done", "sprint_id": SPRINT}
    status, changed = await grace("PATCH", f"{apollo}/tasks/{made['id']}", change)
    assert (status, changed) == (200, {**made, **change})
    status, changed = await grace("PATCH", f"{apollo}/tasks/{made['id']}", {"sprint_id": None})
    assert changed == {**made, "status": "done"}
    assert (await grace("DELETE", f"{apollo}/tasks/{made['id']}"))[0] == 200

    _, sprint = await grace("POST", f"{apollo}/sprints", {"name": "Splashdown"})
    path = f"{apollo}/sprints/{sprint['id']}"
    assert (await grace("PATCH", path, {"name": "Home"}))[1]["name"] == "Home"
    assert (await grace("DELETE", path))[0] == 200

    assert (await grace("POST", f"{apollo}/messages", {"body": "Go"}))[0] == 201
    _, messages = await ada("GET", f"{apollo}/messages")
    assert [(message["name"], message["body"]) for message in messages] == [("Grace", "Go")]

    assert (await grace("PATCH", apollo, {"name": "Mine"}))[0] == 403
    assert (await grace("PUT", f"{apollo}/members/{world.ada}"))[0] == 403
    assert (await ada("PATCH", apollo, {"name": "Artemis"}))[1]["name"] == "Artemis"
    assert (await grace("DELETE", f"{apollo}/members/{world.grace}"))[0] == 200, "may leave"
    assert (await grace("GET", apollo))[0] == 403
    assert (await ada("PUT", f"{apollo}/members/{world.grace}"))[0] == 200
    _, members = await grace("GET", f"{apollo}/members")
    assert [(one["name"], one["role"]) for one in members] == [
        ("Ada", "owner"),
        ("Grace", "member"),
    ]
    assert (await ada("DELETE", apollo))[0] == 200
    assert (await ada("GET", "/projects"))[1] == []


async def test_what_cannot_be_followed_is_answered_with_a_reason(
    world: World, ada: Caller
) -> None:
    apollo = f"/projects/{world.apollo}"
    cases: list[tuple[str, str, Any, int]] = [
        ("POST", "/projects", {"name": " "}, 400),
        ("POST", "/projects", ["name"], 400),
        ("POST", "/projects", {"name": "x" * 501}, 400),
        ("GET", "/projects/7", None, 404),
        ("GET", "/nothing", None, 404),
        ("PATCH", f"{apollo}/tasks/{TASK}", {"status": "lost"}, 400),
        ("PATCH", f"{apollo}/tasks/{TASK}", {"sprint_id": 7}, 400),
        ("PATCH", f"{apollo}/tasks/{NOWHERE}", {"title": "?"}, 404),
        ("PUT", f"{apollo}/members/{NOWHERE}", None, 404),
        ("PUT", f"{apollo}/crowd", {"per_second": 201}, 400),
        ("PUT", f"{apollo}/crowd", {"per_second": True}, 400),
    ]
    for method, path, body, status in cases:
        answered, told = await ada(method, path, body)
        assert (answered, set(told["error"])) == (status, {"code", "message"}), path


async def test_without_a_built_page_the_api_runs_and_says_what_is_missing(
    world: World, demo: Part
) -> None:
    async with world.http.get(demo.url) as response:
        assert response.status == 404
        assert "make demo-page" in await response.text()


async def test_a_crowd_is_one_a_project_and_goes_home_when_it_is_sent(
    world: World, ada: Caller
) -> None:
    crowd = f"/projects/{world.apollo}/crowd"
    await ada("PUT", crowd, {"per_second": 1})
    assert (await ada("PUT", crowd, {"per_second": 200}))[1] == {"per_second": 200}
    assert (await ada("GET", crowd))[1] == {"per_second": 200}
    assert (await ada("PUT", crowd, {"per_second": 0}))[1] == {"per_second": 0}


async def test_a_crowd_that_starts_or_stops_is_a_change_of_its_project(
    world: World, ada: Caller
) -> None:
    async def changed() -> list[str]:
        sql = "select project_id from neverstale.change_log where resource = 'crowd'"
        return sorted([row["project_id"] for row in await world.database.fetch(sql)])

    at_start = sorted([world.apollo, world.gemini])  # an earlier crowd ended with the demo
    assert await changed() == at_start
    for rate in (1, 0):
        await ada("PUT", f"/projects/{world.apollo}/crowd", {"per_second": rate})
    assert await changed() == sorted([*at_start, world.apollo, world.apollo])


async def test_wrong_settings_are_told(world: World) -> None:
    code, _, told = await world.command("demo", DATABASE_URL="mysql://x", JWT_SECRET="")
    assert code == 2
    assert "DATABASE_URL must start with postgresql://" in told
    assert "JWT_SECRET is required" in told
