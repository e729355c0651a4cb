"""The fixtures of the tests on real servers serve here, too."""

from tests.integration.conftest import own_servers, own_world, servers, world

__all__ = ["own_servers", "own_world", "servers", "world"]
