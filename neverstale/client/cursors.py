"""Cursors, changed without changing the mapping itself."""

from collections.abc import Mapping

from neverstale.client.messages import Cursors


def with_changes(cursors: Cursors, changes: Mapping[str, str | None]) -> Cursors:
    """New cursors, in which those that are None are left out."""
    changed = {**cursors, **changes}
    return {name: cursor for name, cursor in changed.items() if cursor is not None}
