"""Real servers, as in the tests of ``tests/integration``."""

from tests.support.fixtures import own_servers, own_world, servers, world

__all__ = ["own_servers", "own_world", "servers", "world"]
