"""How a process ends, whatever happens beside it."""

import asyncio

import pytest

from listener.app import Listener
from listener.leader.publication import PublicationRules
from listener.links.pg_link import PgLost
from listener.settings import ListenerSettings
from shared.config.access_rules import AccessRules
from shared.config.settings import load_settings

HANG_SECONDS = 10.0
ENVIRONMENT = {"DATABASE_URL": "postgresql://nowhere", "REDIS_URL": "redis://nowhere"}


async def test_a_listener_that_is_told_to_end_while_its_link_is_lost_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A TaskGroup that is cancelled while one of its tasks fails tells of that alone."""
    access = AccessRules("uuid", "uuid", "query", "members")
    rules = PublicationRules(access, frozenset(), max_rows=1)
    listener = Listener(load_settings(ListenerSettings, ENVIRONMENT), rules)
    ending: list[asyncio.Task[None]] = []

    async def lose_link(*_: object) -> None:
        async def lose() -> None:
            ending[0].cancel()
            raise PgLost("the link was cut")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lose())
            await asyncio.Event().wait()

    monkeypatch.setattr(listener, "_on_links", lose_link)
    ending.append(asyncio.create_task(listener._stay_linked()))
    done, waiting = await asyncio.wait(ending, timeout=HANG_SECONDS)
    for task in waiting:
        task.cancel()
    assert [task.cancelled() for task in done] == [True]
