"""Whether every committed change is in the change log."""

from dataclasses import dataclass, replace

from listener.leader.leader_state import Batch, LeaderState
from listener.leader.publication import Reset


@dataclass(frozen=True, slots=True)
class CaptureState:
    """Our triggers, and what belongs to them, as they are in the database.

    ``differences`` from what was installed, a line each. ``fingerprint``: another one after any
    change, even one that was undone; ``is_new``: than at the look before.
    """

    fingerprint: str = ""
    differences: tuple[str, ...] = ()
    is_new: bool = False


def weigh_capture(
    batch: Batch, place: LeaderState, capture: CaptureState, *, lacks_members: bool
) -> Batch:
    """The batch, as one that is skipping where triggers differ from what was installed, or
    members can't be asked for; and as one that has skipped where triggers were changed since
    the newest reset. A barrier from before a change is void.

    After ``install`` that reset is about to come: it made another identity.
    """
    if batch.cursor.identity != place.cursor.identity:
        return batch
    was_changed = capture.fingerprint != place.capture
    is_changing = bool(capture.differences) or (was_changed and capture.is_new)
    return replace(
        batch,
        is_skipping=batch.is_skipping or lacks_members or is_changing,
        has_skipped=batch.has_skipped or was_changed,
    )


def decide_liveness(place: LeaderState, batch: Batch) -> LeaderState | Reset:
    """Whether all that was committed is in the log, as of this read.

    What a transaction skipped is in no log, and it may commit long after it skipped. So once
    nothing is skipped any more a barrier is taken, and when every transaction from before it
    has ended, a reset covers them all.
    """
    if batch.is_skipping:
        return replace(place, live=False, barrier=None)
    if place.live and not batch.has_skipped:
        return place
    if place.barrier is None:
        return replace(place, live=False)
    return Reset("log_full") if batch.oldest_xid >= place.barrier else place


def needs_barrier(place: LeaderState, batch: Batch) -> bool:
    """Whether a barrier must be taken now: an xid assigned after this read, as by then whoever
    skipped had one. (The end of a snapshot is none: it is next to the newest *completed* xid.)
    """
    return not place.live and place.barrier is None and not batch.is_skipping
