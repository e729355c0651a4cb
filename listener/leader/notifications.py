"""What LISTEN brings: wake-ups, and what other producers tell."""

import asyncio
import logging

from prometheus_client import CollectorRegistry, Counter

from listener.leader.publication import PublicationRules
from listener.leader.raw_changes import RawChanges
from listener.leader.raw_notify import Malformed, parse_notification
from shared.runtime.log_throttle import LogThrottle

log = logging.getLogger(__name__)


class Notifications:
    """Judges each payload as it comes, so that a malformed one takes no room.

    Bounded: what is over it counts as lost, and a loss is told as a reset. It outlives
    sessions. Without *takes_raw* payloads are ignored.
    """

    def __init__(
        self, rules: PublicationRules, registry: CollectorRegistry, *, takes_raw: bool = True
    ) -> None:
        self.takes_raw = takes_raw
        self.woken = asyncio.Event()
        self.raw = RawChanges(rules)
        self.losses = 0
        self.losses_reset = 0
        self._rules = rules
        self._reason = ""
        self._pace = LogThrottle()
        self._malformed = Counter(
            "neverstale_notify_malformed_total",
            "Raw NOTIFY payloads skipped",
            registry=registry,
        )
        self._ignored = Counter(
            "neverstale_notify_ignored_total",
            "Raw NOTIFY payloads ignored since RAW_NOTIFY is false",
            registry=registry,
        )

    @property
    def raw_lost(self) -> bool:
        return self.losses != self.losses_reset

    def receive(self, payload: str) -> None:
        if not payload:
            self.woken.set()
        elif not self.takes_raw:
            self._ignored.inc()
        else:
            self._judge(payload)

    def _judge(self, payload: str) -> None:
        parsed = parse_notification(payload, self._rules.access)
        if isinstance(parsed, Malformed):
            self._malformed.inc()
            self._reason = parsed.reason
            self._log_malformed(self._pace.count(asyncio.get_running_loop().time()))
            return
        if not self.raw.add(parsed):
            self.losses += 1
        self.woken.set()

    def log_due(self) -> None:
        """Log the malformed payloads that no line has told of, if it is time."""
        self._log_malformed(self._pace.due(asyncio.get_running_loop().time()))

    def _log_malformed(self, count: int) -> None:
        if count:
            log.warning("notifications skipped", extra={"count": count, "reason": self._reason})
