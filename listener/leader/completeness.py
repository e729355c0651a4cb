"""Decides whether every committed change is in the change log."""

from dataclasses import dataclass, replace

from listener.leader.leader_state import Batch, LeaderState
from listener.leader.publication import Reset


@dataclass(frozen=True, slots=True)
class CaptureState:
    """Our triggers, and what belongs to them, as they are in the database.

    ``differences`` from what was installed, a line each. ``fingerprint`` is another one after
    any change, even one that was undone; ``is_new``: it differs from that of the check before.
    """

    fingerprint: str = ""
    differences: tuple[str, ...] = ()
    is_new: bool = False


def apply_capture(
    batch: Batch, state: LeaderState, capture: CaptureState, *, lacks_members: bool
) -> Batch:
    """The batch, with ``is_skipping`` and ``has_skipped`` as the triggers' state demands.

    It is skipping while triggers differ from what was installed, or the members query fails. It
    has skipped if triggers were changed since the newest reset. A barrier from before a change
    is void.

    After ``install`` that reset is imminent, since ``install`` gives the log another identity.
    """
    if batch.cursor.identity != state.cursor.identity:
        return batch
    was_changed = capture.fingerprint != state.capture
    is_changing = bool(capture.differences) or (was_changed and capture.is_new)
    return replace(
        batch,
        is_skipping=batch.is_skipping or lacks_members or is_changing,
        has_skipped=batch.has_skipped or was_changed,
    )


def decide_liveness(state: LeaderState, batch: Batch) -> LeaderState | Reset:
    """Decide whether everything that was committed is in the log, as of this read.

    A change that a transaction skipped is in no log, and the transaction may commit long after
    it skipped. So once nothing is skipped any more a barrier is taken, and when every
    transaction from before it has ended, a reset covers them all.
    """
    if batch.is_skipping:
        return replace(state, live=False, barrier=None)
    if state.live and not batch.has_skipped:
        return state
    if state.barrier is None:
        return replace(state, live=False)
    return Reset("log_full") if batch.oldest_xid >= state.barrier else state


def needs_barrier(state: LeaderState, batch: Batch) -> bool:
    """Whether to take a barrier now: an xid assigned after this read.

    Every transaction that skipped the log has a lower one. (The xmax of the read's snapshot is
    no barrier: it only follows the newest xid that had *completed*.)
    """
    return not state.live and state.barrier is None and not batch.is_skipping
