"""Cursors, changed without changing the mapping itself."""

from collections.abc import Mapping

from neverstale.client.messages import Cursors


def with_changes(cursors: Cursors, changes: Mapping[str, str | None]) -> Cursors:
    """New cursors, in which those that are None are left out."""
    changed = dict(cursors)
    for name, cursor in changes.items():
        if cursor is None:
            changed.pop(name, None)
        else:
            changed[name] = cursor
    return changed
