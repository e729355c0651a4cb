"""Attacks by a role that may only write watched tables."""

from typing import Final

from tests.attack.peer import Peer
from tests.attack.registry import WRITES, Bounds, attack

_WRITES: Final = "attack_writes"
_HUGE: Final = "repeat('x', 200000000)"


@attack(WRITES)
async def huge_values(peer: Peer) -> None:
    """A value of 200 MB as the id, and as the project, of a watched row. It resets the
    narrowest scope; events still flow, and no listener's memory grows by it.
    """
    await peer.query_for_ever(
        _WRITES,
        f"insert into notes values ({_HUGE}, '{peer.target.projects[0]}')",
        f"insert into notes values ('1', {_HUGE})",
        "delete from notes",
        pause_seconds=0.5,
    )


@attack(WRITES, bounds=Bounds(resets=None))
async def odd_values(peer: Peer) -> None:
    """Rows with unusual ids and projects: control characters, braces, no uuid, empty, NULL."""
    project = peer.target.projects[0]
    await peer.query_for_ever(
        _WRITES,
        *(f"insert into notes values (E'{odd}', '{project}')" for odd in _ODD),
        *(f"insert into notes values ('1', E'{odd}')" for odd in _ODD),
        f"insert into notes values (null, '{project}'), ('1', null), (null, null)",
        pause_seconds=0.2,
    )


_ODD: Final = (
    "",
    "\\x01\\x1b[2J\\n",
    "{project:*}:log",
    "neverstale:tick",
    '"}],"x":{"',
    "\\ufffe\\u202e\\U0010ffff",
    "x" * 513,
    "*",
)


@attack(WRITES, bounds=Bounds(ratio=None, p99_ms=1000, resets=None))
async def many_rows(peer: Peer) -> None:
    """Bulk statements that write 5,000 rows of a hundred projects, move and delete them."""
    projects = ", ".join(f"'{project}'" for project in peer.target.projects)
    some = f"(array[{projects}])[1 + n % {len(peer.target.projects)}]"
    await peer.query_for_ever(
        _WRITES,
        f"insert into notes select n::text, {some} from generate_series(1, 5000) as n",
        f"update notes set project = '{peer.target.projects[0]}' where id::int % 2 = 0",
        "delete from notes",
        pause_seconds=1.0,
    )
