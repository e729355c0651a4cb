"""The outcome of a check, as text and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from shared.runtime.findings import Finding, note, problems_of

MAX_CLOCK_SECONDS: Final = 3.0
PARTS: Final = {
    "postgresql": "DATABASE_URL is not set",
    "redis": "REDIS_URL is not set",
    "gateways": "no --gateway",
    "token": "no --token, or no key",
    "probe": "no --probe",
}


@dataclass(slots=True)
class Report:
    """What was found, and what was checked: for each part the facts worth knowing.

    ``clocks``: by how many seconds each server's clock is ahead of this machine's.
    """

    findings: list[Finding] = field(default_factory=list)
    checked: dict[str, Any] = field(default_factory=dict)
    clocks: dict[str, float] = field(default_factory=dict)

    @property
    def is_fine(self) -> bool:
        return not problems_of(self.findings)

    @property
    def skipped(self) -> dict[str, str]:
        """The parts that were not checked, and why."""
        return {part: why for part, why in PARTS.items() if part not in self.checked}

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_fine,
            "findings": [asdict(one) for one in self.findings],
            "checked": self.checked,
            "skipped": self.skipped,
        }

    def lines(self) -> list[str]:
        """Return a line for each part that was checked, and one for the others."""
        lines = [
            f"{part}: {_describe(facts)}"
            for part, found in ((part, self.checked.get(part, [])) for part in PARTS)
            for facts in (found if isinstance(found, list) else [found])
        ]
        if self.skipped:
            parts = ", ".join(f"{part} ({why})" for part, why in self.skipped.items())
            lines.append(f"not checked: {parts}")
        return lines


def find_in_clocks(clocks: Mapping[str, float]) -> list[Finding]:
    """Note servers whose clocks differ: tokens expire by the gateway's, and an issuer's."""
    if len(clocks) < 2 or max(clocks.values()) - min(clocks.values()) <= MAX_CLOCK_SECONDS:
        return []
    first = min(clocks.values())
    ahead = ", ".join(f"{name} +{at - first:.0f} s" for name, at in clocks.items())
    return [note("clocks.differ", f"the servers' clocks differ: {ahead}", "run NTP on each")]


def _describe(facts: Any) -> str:
    if not isinstance(facts, Mapping):
        return str(facts)
    return ", ".join(
        f"{name.replace('_', ' ')} {_describe_value(value)}"
        for name, value in facts.items()
        if value not in (None, "")
    )


def _describe_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
