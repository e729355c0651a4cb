"""How many files and connections the operating system lets this process open."""

import logging
import resource
from typing import Final

# for databases, files, the listening socket, and connections accepted before they are counted
HEADROOM: Final = 64

log = logging.getLogger(__name__)


def raise_descriptor_limit(connections: int) -> int | None:
    """Raise the soft limit as far as the hard one allows, and return how many connections fit
    below it; None: any number.

    Logs a warning if *connections* do not fit.
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
