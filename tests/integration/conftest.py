"""Real servers, started once for the session.

Each test has a database and a Redis prefix of its own.
"""

from typing import Final

import pytest

from tests.support.fixtures import own_servers, own_world, servers, world

__all__ = ["own_servers", "own_world", "servers", "world"]

_LONGEST: Final = "test_client.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the file that takes longest first, so that the others run beside it."""
    items.sort(key=lambda item: item.path.name != _LONGEST)
