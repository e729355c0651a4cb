"""What a check of a set-up found: values that name the fault and say what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["problem", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a set-up.

    ``id`` is stable, for scripts. A *problem* has to be corrected; a *note* is something that
    may be as intended. ``what`` is the case, and ``todo`` is what to do about it.
    """

    id: str
    severity: Severity
    what: str
    todo: str

    @property
    def text(self) -> str:
        return f"{self.what}: {self.todo}"


def problem(id_: str, what: str, todo: str) -> Finding:
    """Return a finding that has to be corrected."""
    return Finding(id_, "problem", what, todo)


def note(id_: str, what: str, todo: str) -> Finding:
    """Return a finding that may be as intended."""
    return Finding(id_, "note", what, todo)


def problems_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are problems."""
    return [one for one in findings if one.severity == "problem"]
