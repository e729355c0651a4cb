"""Fixtures of the suites on real servers. A suite's ``conftest.py`` imports those it uses."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.servers import Servers, running_servers
from tests.support.world import World, make_world


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers that all tests share which do not break them."""
    with running_servers() as started:
        yield started


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """Servers for one test, which may kill them."""
    with running_servers() as started:
        yield started


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    async with make_world(servers) as made:
        yield made


@pytest.fixture
async def own_world(own_servers: Servers) -> AsyncIterator[World]:
    """A world on servers of its own, which the test may kill."""
    async with make_world(own_servers) as made:
        yield made
