"""Fixtures of the suites on real servers. A suite's ``conftest.py`` imports those it uses."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.servers import Servers, running_servers
from tests.support.world import World, make_world


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Shared by all tests that do not harm them."""
    with running_servers() as started:
        yield started


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """For a test that kills them."""
    with running_servers() as started:
        yield started


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    async with make_world(servers) as made:
        yield made


@pytest.fixture
async def own_world(own_servers: Servers) -> AsyncIterator[World]:
    """A world whose servers are its own to kill."""
    async with make_world(own_servers) as made:
        yield made
