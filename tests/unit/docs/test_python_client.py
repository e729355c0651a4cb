"""The reference of the Python client is complete; its guide has a correct cache."""

import asyncio
import dataclasses
import inspect
import re
from typing import Any

import pytest

import neverstale.client
from neverstale.client import Client, Event, Reset, Status
from tests.unit.docs.markdown import read_document, table_rows

REFERENCE = "docs/reference/python-client.md"
GUIDE = "docs/how-to/python-consumers.md"
KEY = ("P", "task", "T")
FRESH = Status(live=True, projects=frozenset("P"))


def documented(heading: str) -> set[str]:
    """Return the names in the first column of the tables below a heading."""
    text = read_document(REFERENCE).partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    return {name for row in table_rows(text) for name in re.findall(r"`(\w+)", row[0])}


def test_all_names_are_documented() -> None:
    head = read_document(REFERENCE).partition("\n## ")[0]
    names = {name for row in table_rows(head) for name in re.findall(r"`(\w+)`", row[0])}
    assert names | {"Message", "Unauthorized", "Forbidden", "BadRequest"} == set(
        neverstale.client.__all__
    )


def test_all_arguments_and_members_are_documented() -> None:
    arguments = set(inspect.signature(Client).parameters)
    members = {name for name in vars(Client) if not name.startswith("_")}
    assert documented("## Client") == arguments | members


@pytest.mark.parametrize("kind", [Event, Reset, Status], ids=lambda kind: kind.__name__)
def test_all_fields_of_messages_are_documented(kind: type[Any]) -> None:
    text = read_document(REFERENCE).partition("\n## Messages\n")[2]
    [fields] = [row[1] for row in table_rows(text) if row[0] == f"`{kind.__name__}`"]
    names = {field.name for field in dataclasses.fields(kind)} - {"cursors"}
    assert names <= set(re.findall(r"`(\w+)`", fields))


class Rows:
    """A query whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], asyncio.Future[str]]] = []

    async def load(self, *key: str) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.asked.append((key, answer))
        return await answer

    async def answer(self, get: "asyncio.Task[str]", row: str) -> str:
        """Answer the oldest query, after which *get* returns."""
        await asyncio.sleep(0)
        self.asked.pop(0)[1].set_result(row)
        return await get


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def cache(rows: Rows) -> Any:
    """The cache of the guide."""
    [recipe, *_] = re.findall(r"```python\n(.*?)```", read_document(GUIDE), re.DOTALL)
    names: dict[str, Any] = {}
    exec(recipe, names)
    cache = names["Cache"](rows.load)
    cache.apply(FRESH)
    return cache


def get(cache: Any) -> "asyncio.Task[str]":
    return asyncio.get_running_loop().create_task(cache.get(*KEY))


def event(id_: str = "T", resource: str = "task") -> Event:
    at: Any = None
    return Event(resource=resource, id=id_, action="UPDATE", project_id="P", timestamp=at)


def reset(project_id: str | None) -> Reset:
    return Reset(project_id=project_id, reason="gap")


async def test_the_recipe_serves_from_memory_what_has_not_changed(
    cache: Any, rows: Rows
) -> None:
    assert await rows.answer(get(cache), "1") == "1"
    for other in (event("U"), event(resource="note"), reset("Q"), FRESH):
        cache.apply(other)
    assert await get(cache) == "1"
    assert rows.asked == []


@pytest.mark.parametrize("message", [event(), reset("P"), reset(None)])
async def test_the_recipe_loads_again_what_has_changed(
    cache: Any, rows: Rows, message: object
) -> None:
    assert await rows.answer(get(cache), "1") == "1"
    cache.apply(message)
    assert await rows.answer(get(cache), "2") == "2"


@pytest.mark.parametrize("message", [event(), reset("P"), reset(None)])
async def test_the_recipe_does_not_keep_a_row_that_changed_while_it_was_loaded(
    cache: Any, rows: Rows, message: object
) -> None:
    loading = get(cache)
    await asyncio.sleep(0)
    cache.apply(message)
    assert await rows.answer(loading, "older") == "older"
    assert await rows.answer(get(cache), "newer") == "newer"


async def test_the_recipe_keeps_the_newer_of_two_loads(cache: Any, rows: Rows) -> None:
    older = get(cache)
    await asyncio.sleep(0)
    cache.apply(event())
    newer = get(cache)
    await asyncio.sleep(0)
    rows.asked[1][1].set_result("newer")
    assert await newer == "newer"
    assert await rows.answer(older, "older") == "older"
    assert await get(cache) == "newer"


async def test_the_recipe_does_not_trust_rows_while_changes_do_not_arrive(
    cache: Any, rows: Rows
) -> None:
    assert await rows.answer(get(cache), "1") == "1"
    cache.apply(Status(live=False))
    assert await rows.answer(get(cache), "2") == "2"
    cache.apply(FRESH)
    rows.asked.clear()
    assert await get(cache) == "2"


async def test_the_recipe_forgets_loads_that_failed(cache: Any, rows: Rows) -> None:
    failing = get(cache)
    await asyncio.sleep(0)
    rows.asked.pop()[1].set_exception(OSError())
    with pytest.raises(OSError):  # noqa: PT011 any will do
        await failing
    assert cache._loads == {}
    assert await rows.answer(get(cache), "1") == "1"
