"""Outcomes of scenarios as text: a line each, and a table of all."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos.scenario import Verdict


def describe(verdict: Verdict) -> str:
    """Return a scenario in one line."""
    outcome = "VIOLATION" if verdict.violations else "ok"
    return (
        f"seed {verdict.seed:<6} {verdict.seconds:5.0f} s  {verdict.faults.total():3} faults"
        f"  {verdict.writes.total():5} changes  {verdict.events:6} events"
        f"  {_precise(verdict.share.by_event, verdict.share.by_reset):>6} precise"
        f"  {verdict.resets:4} resets  consistent after {verdict.slowest_seconds:4.1f} s"
        f"  {outcome}"
    )


def summarize(verdicts: Sequence[Verdict]) -> str:
    """Return all scenarios in one table."""
    faults: Counter[str] = Counter()
    writes: Counter[str] = Counter()
    for verdict in verdicts:
        faults += verdict.faults
        writes += verdict.writes
    precise = _precise(
        sum(v.share.by_event for v in verdicts), sum(v.share.by_reset for v in verdicts)
    )
    rows = [
        ("scenarios", f"{len(verdicts)}, {sum(v.seconds for v in verdicts):.0f} s"),
        ("faults", f"{faults.total()}: {_listed(faults)}"),
        ("changes", f"{writes.total()}: {_listed(writes)}"),
        ("events delivered", f"{sum(v.events for v in verdicts)}"),
        ("delivered by an event, not by a reset", precise),
        ("resets delivered", f"{sum(v.resets for v in verdicts)}"),
        ("worst time to consistency", f"{max(v.slowest_seconds for v in verdicts):.1f} s"),
        ("stale rows", f"{sum(v.stale for v in verdicts)}"),
        ("leaks", f"{sum(v.leaks for v in verdicts)}"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {told} |" for name, told in rows)])


def _precise(by_event: int, by_reset: int) -> str:
    total = by_event + by_reset
    return f"{by_event / total:.1%}" if total else "-"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.most_common())
