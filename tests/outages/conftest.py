"""The servers and the world of the tests on real servers."""

from tests.integration.conftest import own_servers, own_world, servers, world

__all__ = ["own_servers", "own_world", "servers", "world"]
