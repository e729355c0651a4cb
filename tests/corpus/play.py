"""Runs the day and the migrations of a schema, and checks each."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from listener.setup.install import InstallError
from shared.config.access_rules import ConfigError
from tests.corpus.page import Page
from tests.corpus.schemas import EVERYBODY, Migration, Schema, Step
from tests.corpus.stage import Stage, missing_extensions, staged
from tests.corpus.writers import Writers, is_ours
from tests.support.servers import Servers

MIGRATION_TRIES: Final = 5


@dataclass(frozen=True)
class Result:
    """Outcome of a case. A case that waits for a fix must fail until then."""

    schema: str
    case: str
    problems: tuple[str, ...]
    seconds: float
    waits_for: str | None = None
    skipped: str | None = None

    @property
    def is_failure(self) -> bool:
        return bool(self.problems) != bool(self.waits_for)

    @property
    def verdict(self) -> str:
        if self.skipped:
            return f"skipped: {self.skipped}"
        if self.waits_for and self.problems:
            return f"waits for {self.waits_for}"
        if self.waits_for:
            return f"FAILED: passes, so it waits for {self.waits_for} no longer"
        return "FAILED" if self.problems else "ok"


async def play(
    servers: Servers, schema: Schema, *, is_short: bool = False
) -> AsyncIterator[Result]:
    """Play the whole day, then the migrations, each on a new database."""
    if missing := await missing_extensions(servers, schema):
        yield Result(schema.name, "all", (), 0.0, skipped=f"needs {', '.join(missing)}")
        return
    async for result in play_day(servers, schema):
        yield result
    migrations = [one for one in schema.migrations if one.is_short or not is_short]
    if migrations:
        async for result in play_migrations(servers, schema, migrations):
            yield result


async def play_day(servers: Servers, schema: Schema) -> AsyncIterator[Result]:
    """Play each step, then check the clients' rows and our parts' logs."""
    async with staged(servers, schema, all_v1=False) as stage:
        day = _Day(stage)
        for step in schema.steps:
            began = time.monotonic()
            problems = await day.play(step)
            yield Result(
                schema.name,
                f"day: {step.case}",
                tuple(problems),
                time.monotonic() - began,
                step.waits_for,
            )
        began = time.monotonic()
        problems = [*await stage.settle(), *stage.ended_parts(), *stage.tracebacks()]
        seconds = time.monotonic() - began
        yield Result(
            schema.name, "day: everything is fresh at the end", tuple(problems), seconds
        )


class _Day:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # a moved parent is published twice, the second time when old transactions have ended
        self._widened: set[str] = set()

    async def play(self, step: Step) -> list[str]:
        for page in self._stage.pages:
            page.told.clear()
        try:
            await self._stage.pool.execute(step.sql)
        except asyncpg.PostgresError as exc:
            return [f"{type(exc).__name__}: {exc} ({exc.context})"]
        for page in self._stage.pages:
            await self._stage.pass_mark(page)
        problems = [
            problem for page in self._stage.pages for problem in self._judge(step, page)
        ]
        self._widened |= {line for line in step.told if line.endswith(" *")}
        return problems

    def _judge(self, step: Step, page: Page) -> Iterator[str]:
        wanted = set(step.told_to(page.plan))
        told = set(page.told)
        for event in sorted(wanted - told):
            yield f"{page.name} was not told: {event}"
        for event in sorted(told - wanted - self._widened):
            yield f"{page.name} was told: {event}"


async def play_migrations(
    servers: Servers, schema: Schema, migrations: Sequence[Migration]
) -> AsyncIterator[Result]:
    """Play the migrations one after another while the app writes."""
    async with staged(servers, schema, all_v1=True) as stage:
        series = _Series(stage)
        async with series.writers.writing():
            for migration in migrations:
                began = time.monotonic()
                problems = await series.play(migration)
                yield Result(
                    schema.name,
                    f"migration: {migration.case}",
                    tuple(problems),
                    time.monotonic() - began,
                    migration.waits_for,
                )
                if problems:
                    await series.mend()


class _Series:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.writers = Writers(stage.world.database_url, stage.schema.writers)

    async def play(self, migration: Migration) -> list[str]:
        """Play one migration and return its problems."""
        stage = self._stage
        await stage.leader_knows_triggers()
        problems = await self.writers.progress()
        for page in stage.pages:
            page.told.clear()
        if migration.disables:
            await stage.disable()
        problems += await self._migrate(migration)
        problems += await self._check(migration)
        fixed = stage.fixed
        problems += self._configure(migration)
        problems += await self.writers.progress()
        # where only the file changes, the app follows it once it is installed
        if migration.sql and not migration.disables:
            problems += await self._settle()
            if not migration.resets and any(EVERYBODY in page.told for page in stage.pages):
                problems.append("everybody was reset")
        problems += self.writers.take_faults() + stage.ended_parts()
        if migration.installs:
            problems += await self._install(must_restart=stage.fixed != fixed)
            problems += self.writers.take_faults() + stage.ended_parts()
        return problems

    async def _migrate(self, migration: Migration) -> list[str]:
        for sql in migration.sql:
            try:
                await self._run(sql)
            except asyncpg.PostgresError as exc:
                text = f"{exc} {exc.detail or ''}"
                if migration.refused and migration.refused in text:
                    return []
                ours = " by us" if is_ours(exc) else ""
                return [f"refused{ours}: {sql!r}: {text}"]
        return [f"was not refused: {migration.refused}"] if migration.refused else []

    async def _run(self, sql: str) -> None:
        """Run a migration's SQL, again after a deadlock with the app's foreign keys."""
        for _ in range(MIGRATION_TRIES - 1):
            with suppress(asyncpg.DeadlockDetectedError):
                await self._stage.pool.execute(sql)
                return
        await self._stage.pool.execute(sql)

    def _configure(self, migration: Migration) -> list[str]:
        text = self._stage.text
        unfound = [old for old, _ in migration.config if old not in text]
        for old, new in migration.config:
            text = text.replace(old, new)
        self._stage.write(text)
        return [f"the config has no {old!r}" for old in unfound]

    async def _settle(self) -> list[str]:
        async with self.writers.paused():
            return await self._stage.settle()

    async def _check(self, migration: Migration) -> list[str]:
        found = await self._stage.check()
        unsaid = [part for part in migration.check if not any(part in line for line in found)]
        unwanted = [line for line in found if not any(part in line for part in migration.check)]
        return [f"check does not say: {part}" for part in unsaid] + [
            f"check says: {line}" for line in unwanted
        ]

    async def _install(self, *, must_restart: bool = False) -> list[str]:
        """Install again as the migration's file says, and return the problems."""
        try:
            await self._stage.install()
        except (ConfigError, InstallError, asyncpg.PostgresError) as exc:
            return [f"install failed: {exc}"]
        if must_restart:
            await self._stage.start_parts()
        problems = await self._stage.become_live()
        problems += await self.writers.progress() + await self._settle()
        found = await self._stage.check()
        return problems + [f"check says: {line}" for line in found]

    async def mend(self) -> None:
        """Repair the installation after a failure, for the next migration."""
        if self._stage.ended_parts():
            await self._stage.start_parts()
        await self._install()
        self.writers.take_faults()
