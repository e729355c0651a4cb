"""Access to a project, as a handshake, a ticket request or a client message needs it."""

from typing import Final

from gateway.access.checker import AccessChecker, AccessUnavailable
from gateway.access.revalidation import Revalidator
from shared.protocol.close_codes import FORBIDDEN, Refusal, unavailable
from shared.protocol.control_messages import Recheck

_NO_DATABASE: Final = unavailable("the database is away: connect again")


class ProjectAccess:
    """Refuses a subscription without access, and closes the gap until it exists."""

    def __init__(self, checker: AccessChecker, revalidator: Revalidator) -> None:
        self._checker = checker
        self._revalidator = revalidator

    async def refuse(self, project_id: str, user_id: str) -> Refusal | None:
        """Return why the user can't subscribe to the project, or None."""
        try:
            allowed = await self._checker.has_access((project_id, user_id))
        except AccessUnavailable:  # the checker has logged it
            return _NO_DATABASE
        return None if allowed else FORBIDDEN

    def recheck_if_stale(self, project_id: str, user_id: str) -> None:
        """Check again if access may have changed between the answer and the subscription.

        A recheck in between found no subscription to suspend.
        """
        pair = (project_id, user_id)
        if not self._checker.has_cached_access(pair):
            self._revalidator.recheck(Recheck(*pair))
