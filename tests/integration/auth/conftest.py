"""A key server for each test that asks for one."""

from tests.support.key_server import key_server

__all__ = ["key_server"]
