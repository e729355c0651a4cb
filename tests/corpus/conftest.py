"""Real servers, started once for the session."""

from tests.support.fixtures import servers

__all__ = ["servers"]
