"""A client that shows all rows of one project, and reloads rows when their events arrive."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import aiohttp
import asyncpg

from tests.corpus.schemas import EVERYBODY, ClientPlan, Schema
from tests.support.processes import WS_PATH, Part, token

RETRY_SECONDS: Final = 0.05
MARK: Final = "mark"

Row: TypeAlias = tuple[str, str]  # resource and id
Rows: TypeAlias = Mapping[Row, str]  # rows with their versions
Load: TypeAlias = Callable[[str, Row | None], Awaitable[Rows]]


class Page:
    """One client. ``told`` has its events as the day's script writes them."""

    def __init__(
        self, schema: Schema, plan: ClientPlan, http: aiohttp.ClientSession, load: Load
    ) -> None:
        self.plan = plan
        self.project = schema.id_of(plan.project)
        self.told: list[str] = []
        self.rows: dict[Row, str] = {}
        self.marks: set[str] = set()
        self.is_greeted = False
        self.is_live = True
        self._user = schema.id_of(plan.user)
        # a user may have the same id as a project: project names take precedence
        self._names = {id_: name for name, id_ in reversed([*schema.names.items()])}
        self._http = http
        self._load = load
        self._stale: dict[Row | None, None] = {}
        self._is_loading = False
        self._woken = asyncio.Event()

    @property
    def name(self) -> str:
        return f"{self.plan.user} at {self.plan.project}"

    @property
    def is_fresh(self) -> bool:
        """Whether it has been greeted and has nothing to reload."""
        return self.is_greeted and not self._stale and not self._is_loading

    def mark(self, row: Row | None) -> None:
        """Mark a row stale, or all of them."""
        self._stale[row] = None
        self._woken.set()

    async def follow(self, gateway: Part) -> None:
        """Receive frames, and reconnect when a connection ends. Never returns."""
        bearer = token(self._user)
        protocols = ("neverstale.v1", f"bearer.{bearer}") if self.plan.is_v1 else ()
        headers = {} if self.plan.is_v1 else {"Authorization": f"Bearer {bearer}"}
        while True:
            url = f"{gateway.url}{WS_PATH}?project_id={self.project}"
            try:
                async with self._http.ws_connect(
                    url, headers=headers, protocols=protocols
                ) as socket:
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            self._hear(json.loads(message.data))
            except (aiohttp.ClientError, OSError):
                pass
            self.is_greeted = False
            await asyncio.sleep(RETRY_SECONDS)

    async def reload(self) -> None:
        """Load stale rows, with retries while the schema is changing. Never returns."""
        while True:
            await self._woken.wait()
            if not self._stale:
                self._woken.clear()
                continue
            row = next(iter(self._stale))
            del self._stale[row]
            self._is_loading = True
            try:
                self._show(row, await self._load(self.project, row))
            except asyncpg.PostgresError:  # the app's next version will succeed
                self._stale[row] = None
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._is_loading = False

    def _show(self, row: Row | None, loaded: Rows) -> None:
        if row is None:
            self.rows.clear()
        else:
            self.rows.pop(row, None)
        self.rows.update(loaded)

    def _hear(self, frame: Mapping[str, Any]) -> None:
        match frame["type"]:
            case "connected":
                self.is_greeted = self.is_live = True
                self.mark(None)
            case "reconnect" if not self.is_greeted:  # the greeting of a plain client
                self.is_greeted = True
                self.mark(None)
            case "reconnect" if frame["data"]["reason"] != "access_changed":
                project = frame.get("project_id")
                self.told.append(self._name(project) + " *" if project else EVERYBODY)
                if project in (None, self.project):
                    self.mark(None)
            case "cache_invalidate" if frame["resource"] == MARK:
                self.marks.add(frame["data"]["id"])
            case "cache_invalidate":
                project, resource, id_ = (
                    frame["project_id"],
                    frame["resource"],
                    frame["data"]["id"],
                )
                self.told.append(f"{self._name(project)} {resource} {frame['action']} {id_}")
                if project == self.project:
                    self.mark((resource, id_))
            case "unsubscribed":
                self.told.append(f"{self._name(frame['project_id'])} lost")
            case "status":
                self.is_live = frame["live"]
            case _:
                pass

    def _name(self, project: str | None) -> str:
        return self._names.get(project, project) if project is not None else "-"
