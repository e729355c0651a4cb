"""Real servers, started once for the session.

Each test has a database and a Redis prefix of its own.
"""

from tests.support.fixtures import own_servers, own_world, servers, world

__all__ = ["own_servers", "own_world", "servers", "world"]
