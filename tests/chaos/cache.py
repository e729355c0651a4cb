"""The rows that a model browser holds, with versions; stale ones are refetched."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import asyncpg

from tests.chaos.pages import Row, load_list, load_page, load_row
from tests.support.database import GONE

RETRY_SECONDS: Final = 0.2
ANSWER_SECONDS: Final = 10.0
LIST: Final = ("list",)

# the list of projects, a project as a whole (its id), or one row (project, resource and id)
Key: TypeAlias = tuple[str, ...]


@dataclass
class Loads:
    """When a project was marked stale as a whole, and when loads of all of it began."""

    marked: list[float] = field(default_factory=list)
    began: list[float] = field(default_factory=list)


class Cache:
    """Refetch stale keys, one request at a time."""

    def __init__(self, url: str, user: str, now: Callable[[], float]) -> None:
        self.user = user
        self.list: dict[str, str] | None = None
        self.rows: dict[str, dict[Row, str] | None] = {}  # None: it was refused
        self.loads: dict[str, Loads] = {}
        self.list_loaded = asyncio.Event()  # set at each load; waiting clears it
        self._url = url
        self._now = now
        self._stale: dict[Key, None] = {}
        self._woken = asyncio.Event()
        self._list_began = 0.0
        self._is_asking = False

    @property
    def is_fresh(self) -> bool:
        """Whether no key is stale, as far as the browser knows."""
        return not self._stale and not self._is_asking

    @property
    def oldest_load(self) -> float:
        """When the oldest of the held pages was requested."""
        began = [loads.began[-1] for loads in self.loads.values() if loads.began]
        return min(self._list_began, *began)

    def has_loaded(self, project: str) -> bool:
        return project in self.loads and bool(self.loads[project].began)

    def mark(self, *key: str) -> None:
        """Mark a key stale: refetch it, again if a fetch is in flight."""
        self._stale[key] = None
        self._woken.set()

    def reset(self, project: str) -> None:
        """Mark a whole project stale."""
        self.loads.setdefault(project, Loads()).marked.append(self._now())
        self.mark("project", project)

    def reset_all(self) -> None:
        self.mark(*LIST)
        for project in list(self.rows):
            self.reset(project)

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                database = await asyncpg.connect(self._url, timeout=ANSWER_SECONDS)
            except (*GONE, asyncpg.PostgresError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                while True:
                    await self._woken.wait()
                    await self._refetch(database)
            except (*GONE, asyncpg.PostgresError):
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                database.terminate()

    async def _refetch(self, database: "asyncpg.Connection[asyncpg.Record]") -> None:
        if not self._stale:
            self._woken.clear()
            return
        key = next(iter(self._stale))
        del self._stale[key]
        self._is_asking = True
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ask(database, key)
        except BaseException:
            self._stale[key] = None
            raise
        finally:
            self._is_asking = False

    async def _ask(self, database: "asyncpg.Connection[asyncpg.Record]", key: Key) -> None:
        match key:
            case ("list",):
                self._list_began = self._now()
                self.list = await load_list(database, self.user)
                self.list_loaded.set()
            case ("project", project):
                began = self._now()
                page = await load_page(database, project, self.user)
                self.rows[project] = None if page.rows is None else dict(page.rows)
                self.loads.setdefault(project, Loads()).began.append(began)
            case ("row", project, resource, id_):
                row = (resource, id_)
                page = await load_row(database, project, self.user, row)
                held = self.rows.get(project)
                if page.rows is None and project in self.rows:
                    self.rows[project] = None
                elif page.rows is not None and held is not None:
                    # a refused or never loaded project holds no rows to update
                    held.pop(row, None)
                    held.update(page.rows)
            case _:
                raise ValueError(f"no such key: {key}")
