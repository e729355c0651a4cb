"""The ``[[watch]]`` sections of ``invalidation.toml``: which tables to capture, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.config.access_rules import ConfigError

_REQUIRED: Final = ("table", "resource")
_OPTIONAL: Final = ("id", "project", "user")
DEFAULT_BULK_THRESHOLD: Final = 50
MAX_RESOURCE_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Watch:
    """One watched table.

    ``resource`` is what events call its rows. ``id``, ``project`` and ``user`` are columns, or
    SQL expressions over a row. An UPDATE that changes only ``ignore`` columns is no event.
    ``access``: a row that names a project and a user may give that user access.
    """

    table: str
    resource: str
    id: str | None
    project: str | None
    user: str | None
    ignore: tuple[str, ...] = ()
    access: bool = True

    @property
    def expressions(self) -> dict[str, str]:
        """The columns or expressions that are set, by key."""
        given = {"id": self.id, "project": self.project, "user": self.user}
        return {key: text for key, text in given.items() if text is not None}

    @property
    def is_project(self) -> bool:
        """Whether a row is a project itself: its id is the project."""
        return self.id is not None and self.id == self.project

    @property
    def logs_every_row(self) -> bool:
        """Whether each row must be logged: a bulk reset would miss a change of access."""
        return self.user is not None or self.project is None or self.is_project


def parse_watches(document: Mapping[str, Any]) -> tuple[Watch, ...]:
    """Return the watched tables of a parsed ``invalidation.toml``.

    Raises:
        ConfigError: with a line for each mistake, which names the table and the key.
    """
    problems = [
        f"{key}: unknown: known are bulk_threshold, [[watch]] and [access]"
        for key in document
        if key not in ("bulk_threshold", "watch", "access")
    ]
    entries = document.get("watch", [])
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            [*problems, "watch: no table is watched: add a [[watch]] section for each"]
        )
    watches = []
    for number, entry in enumerate(entries, 1):
        where = f"watch {number}"
        if not isinstance(entry, Mapping):
            problems.append(f"{where}: must be a section: write [[watch]] on a line of its own")
            continue
        if isinstance(entry.get("table"), str):
            where = f"watch {number} ({entry['table']})"
        found = _problems_of(entry)
        problems += [f"{where} {problem}" for problem in found]
        if not found:
            watches.append(
                Watch(
                    entry["table"],
                    entry["resource"],
                    id=entry.get("id"),
                    project=entry.get("project"),
                    user=entry.get("user"),
                    ignore=tuple(entry.get("ignore", ())),
                    access=entry.get("access", True),
                )
            )
    seen: set[str] = set()
    for watch in watches:
        if watch.table in seen:
            problems.append(
                f"watch ({watch.table}) table: is watched twice: remove one [[watch]]"
            )
        seen.add(watch.table)
    if problems:
        raise ConfigError(problems)
    return tuple(watches)


def project_resources(watches: Sequence[Watch]) -> frozenset[str]:
    """Return the resources whose rows are the projects: their id is their project.

    Tables with one row per project look the same. If one resource is called ``project``, only
    that one is returned.
    """
    found = {watch.resource for watch in watches if watch.is_project}
    return frozenset({"project"} if "project" in found else found)


def resources_without_access(watches: Sequence[Watch]) -> frozenset[str]:
    """Return the resources whose rows give nobody access, as ``access = false`` says."""
    giving = {watch.resource for watch in watches if watch.access}
    return frozenset({watch.resource for watch in watches} - giving)


def parse_bulk_threshold(document: Mapping[str, Any]) -> int:
    """Return how many rows of a project one statement may change before it becomes one reset.

    Raises:
        ConfigError: it is not a whole number from 1 to 1,000,000.
    """
    value = document.get("bulk_threshold", DEFAULT_BULK_THRESHOLD)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1_000_000:
        raise ConfigError(
            ["bulk_threshold: must be from 1 to 1000000: write bulk_threshold = 50"]
        )
    return value


def _problems_of(entry: Mapping[str, Any]) -> list[str]:
    problems = [
        f'{key}: is missing: write {key} = "..."' for key in _REQUIRED if key not in entry
    ]
    known = (*_REQUIRED, *_OPTIONAL)
    for key, value in entry.items():
        if key == "ignore":
            if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                problems.append('ignore: must be a list of columns: write ignore = ["..."]')
        elif key == "access":
            if not isinstance(value, bool):
                problems.append("access: must be true or false: write access = false")
        elif key not in known:
            all_known = ", ".join((*known, "ignore", "access"))
            problems.append(f"{key}: unknown key: known are {all_known}")
        elif not isinstance(value, str) or not value.strip():
            problems.append(f'{key}: must be text: write {key} = "..."')
        elif key == "resource" and len(value.encode()) > MAX_RESOURCE_BYTES:
            problems.append(f"resource: must have at most {MAX_RESOURCE_BYTES} bytes")
    if "project" not in entry and "user" not in entry:
        problems.append(
            'project: is missing: write project = "..." (or only user = "...": a user\'s own)'
        )
    return problems
