"""The operating system's limit on open files and connections of this process."""

import logging
import resource
from typing import Final

# for databases, files, the listening socket, and accepted connections not counted yet
HEADROOM: Final = 64

log = logging.getLogger(__name__)


def raise_descriptor_limit(connections: int) -> int | None:
    """Raise the soft limit to the hard limit. Log a warning if *connections* do not fit.

    Return how many connections fit; None: any number.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard
    if hard == resource.RLIM_INFINITY:  # macOS refuses to make the soft limit infinite
        wanted = soft if soft == resource.RLIM_INFINITY else max(soft, connections + HEADROOM)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    except (OSError, ValueError) as exc:
        log.warning("descriptor limit not raised", extra={"soft": soft, "reason": str(exc)})
    if soft == resource.RLIM_INFINITY:
        return None
    log.info("descriptor limit", extra={"soft": soft})
    if soft < connections + HEADROOM:
        log.warning(
            "too few file descriptors: raise the hard limit, or lower MAX_SOCKETS",
            extra={"limit": soft, "needed": connections + HEADROOM},
        )
    return max(1, soft - HEADROOM)
