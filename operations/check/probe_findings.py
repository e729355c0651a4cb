"""Rules: where an event got stuck between the database and the sockets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.runtime.findings import Finding, problem

MAX_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """When one event reached each stage, in seconds; None: it did not within ``MAX_SECONDS``.

    ``greeted``: from the start of each gateway's handshake until its greeting. All other times
    start with the call of ``neverstale.notify()``: ``committed``, ``published`` (seen in Redis;
    ``sees_redis``: whether that could be seen) and ``received`` on each gateway's socket.
    ``commit_error``: why the call failed.
    """

    greeted: Mapping[str, float | None] = field(default_factory=dict)
    commit_error: str = ""
    committed: float | None = None
    sees_redis: bool = True
    published: float | None = None
    received: Mapping[str, float | None] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return the times in milliseconds, for the report."""
        return {
            "greeted_ms": {url: _ms(seconds) for url, seconds in self.greeted.items()},
            "committed_ms": _ms(self.committed),
            "published_ms": _ms(self.published),
            "received_ms": {url: _ms(seconds) for url, seconds in self.received.items()},
        }


def find_in_probe(facts: ProbeFacts) -> list[Finding]:
    """Return the first stage that the event did not reach."""
    if facts.commit_error:
        return [
            problem(
                "probe.not_committed",
                f"neverstale.notify() failed: {facts.commit_error}",
                "run neverstale install, or grant the role usage on the schema neverstale",
            )
        ]
    found = [
        problem(
            "probe.not_greeted",
            f"{url} did not greet the socket of the probe",
            "see the findings of that gateway, and whether the token's user may see --project",
        )
        for url, seconds in facts.greeted.items()
        if seconds is None
    ]
    was_received = any(seconds is not None for seconds in facts.received.values())
    if facts.sees_redis and facts.published is None and not was_received:
        found.append(
            problem(
                "probe.not_published",
                f"the event was not published within {MAX_SECONDS:.0f} s of its commit",
                "see the listeners' /readyz and log, and that DATABASE_URL, REDIS_URL and "
                "REDIS_PREFIX are the same there and here",
            )
        )
        return found
    found += [
        problem(
            "probe.not_received",
            f"the event was not received from {url} within {MAX_SECONDS:.0f} s",
            "see that gateway's /readyz and log, and that its REDIS_URL and REDIS_PREFIX are "
            "those of the listeners",
        )
        for url, seconds in facts.received.items()
        if seconds is None and facts.greeted.get(url) is not None
    ]
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
