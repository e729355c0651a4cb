"""Receives what LISTEN delivers: wake-ups, and changes from other producers."""

import asyncio
import logging

from prometheus_client import CollectorRegistry, Counter, Gauge

from listener.leader.change_log import BadValue, ChangeLog
from listener.leader.publication import PublicationRules
from listener.leader.raw_changes import RawChanges
from listener.leader.raw_notify import Malformed, parse_notification
from shared.runtime.log_throttle import LogThrottle

log = logging.getLogger(__name__)


class Notifications:
    """The NOTIFY payloads that no leader has handled yet.

    Payloads are parsed on arrival, so a malformed one takes no memory. ``raw`` is bounded: a
    change that does not fit is lost. ``losses`` counts these, and ``losses_reset`` is the count
    that the newest reset covers. The object outlives LISTEN sessions. Without *takes_raw* all
    payloads but wake-ups are ignored.
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
        self._malformed_reason = ""
        self._throttle = LogThrottle()
        Gauge(
            "neverstale_notify_pending",
            "Changes of raw NOTIFYs that wait to be written to the change log",
            registry=registry,
        ).set_function(lambda: len(self.raw))
        self._malformed = Counter(
            "neverstale_notify_malformed_total",
            "Raw NOTIFY payloads skipped because they are malformed",
            registry=registry,
        )
        self._ignored = Counter(
            "neverstale_notify_ignored_total",
            "Raw NOTIFY payloads ignored because RAW_NOTIFY is false",
            registry=registry,
        )

    @property
    def raw_lost(self) -> bool:
        """Whether a change was lost that no reset has covered yet."""
        return self.losses != self.losses_reset

    def receive(self, payload: str) -> None:
        if not payload:
            self.woken.set()
        elif not self.takes_raw:
            self._ignored.inc()
        else:
            self._take(payload)

    def _take(self, payload: str) -> None:
        parsed = parse_notification(payload, self._rules.access)
        if isinstance(parsed, Malformed):
            self._malformed.inc()
            self._malformed_reason = parsed.reason
            self._log_malformed(self._throttle.count(asyncio.get_running_loop().time()))
            return
        if not self.raw.add(parsed):
            self.losses += 1
        self.woken.set()

    def lose_raw(self) -> None:
        """Count a loss, and drop what its reset covers anyway."""
        self.losses += 1
        self.raw.clear()

    async def log_raw(self, change_log: ChangeLog) -> None:
        """Write the changes of raw NOTIFYs to the change log, to be read like all others."""
        rows = self.raw.take()
        if not rows:
            return
        try:
            await change_log.write(rows)
        except BadValue as exc:  # the database's encoding lacks a character
            self.losses += 1
            log.warning(
                "notifications could not be written to the change log",
                extra={"reason": str(exc)},
            )
        except BaseException:  # cancelled or not: whether they were written is unknown
            self.losses += 1
            raise

    def log_due(self) -> None:
        """Log the malformed payloads since the last line, if it is time for another."""
        self._log_malformed(self._throttle.due(asyncio.get_running_loop().time()))

    def _log_malformed(self, count: int) -> None:
        if count:
            log.warning(
                "malformed notifications skipped",
                extra={"count": count, "reason": self._malformed_reason},
            )
