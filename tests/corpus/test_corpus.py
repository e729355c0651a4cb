"""A few schemas of the corpus; ``make corpus`` plays all of them."""

import pytest

from tests.corpus.play import play
from tests.corpus.schemas import EVERYBODY, load_schemas
from tests.support.servers import Servers


@pytest.mark.parametrize("name", ["go_service", "telemetry"])
async def test_a_day_and_migrations_leave_no_client_stale(servers: Servers, name: str) -> None:
    [schema] = load_schemas([name])
    results = [result async for result in play(servers, schema, is_short=True)]
    wrong = [(one.case, one.verdict, one.problems) for one in results if one.is_failure]
    assert not wrong
    assert len(results) > len(schema.steps)


def test_every_event_of_a_day_has_a_client_that_receives_it() -> None:
    for schema in load_schemas():
        receivers = {one.project for one in schema.clients} | {
            one.user for one in schema.clients
        }
        for step in schema.steps:
            for line in step.told:
                who = line.partition(": ")[0] if ": " in line else line.split()[0]
                assert who in receivers | {EVERYBODY}, (schema.name, step.case, line)
