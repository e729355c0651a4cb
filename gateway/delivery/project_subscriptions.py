"""The subscriptions to project channels, found by project and user."""

from collections.abc import Callable, Iterable

from gateway.access.pairs import Pair, PairMap
from gateway.delivery.effects import Effect
from gateway.delivery.subscriptions import Subscriptions
from gateway.transport.connection import Connection
from shared.protocol.channels import Channel
from shared.protocol.close_codes import CloseCode
from shared.protocol.control_messages import Recheck


class ProjectSubscriptions:
    """Suspends, resumes and ends a user's subscriptions to a project, on all its connections.

    This is what access revalidation works on.
    """

    def __init__(
        self,
        subscriptions: Subscriptions[Connection],
        perform: Callable[[Iterable[Effect[Connection]]], None],
    ) -> None:
        self._subscriptions = subscriptions
        self._perform = perform
        # Most users have one connection to a project, which a dict would take more memory than.
        self._connections: PairMap[Connection | dict[Connection, None]] = PairMap()

    def add(self, connection: Connection, channel: Channel) -> None:
        """Index the subscription. Channels of users are not indexed."""
        if channel.kind == "project":
            pair = (channel.id, connection.user_id)
            known = self._connections.get(pair)
            if known is None:
                self._connections.put(pair, connection)
            elif isinstance(known, dict):
                known[connection] = None
            elif known is not connection:
                self._connections.put(pair, {known: None, connection: None})

    def discard(self, connection: Connection, channel: Channel) -> None:
        """Forget the subscription, if it is indexed."""
        pair = (channel.id, connection.user_id)
        known = self._connections.get(pair) if channel.kind == "project" else None
        if isinstance(known, dict):
            known.pop(connection, None)
        if known is connection or known == {}:
            self._connections.pop(pair)

    def pairs(self, recheck: Recheck) -> list[Pair]:
        """The project and user of each subscription that the recheck concerns."""
        return self._connections.matching(recheck)

    def suspend(self, pair: Pair) -> None:
        """Deliver nothing of the project to the user until ``resume``."""
        for connection in self._connections_of(pair):
            self._subscriptions.suspend(connection, Channel("project", pair[0]))

    def resume(self, pair: Pair) -> None:
        """Deliver again, beginning with what was missed since ``suspend``."""
        for connection in self._connections_of(pair):
            self._perform(self._subscriptions.resume(connection, Channel("project", pair[0])))

    def revoke(self, pair: Pair) -> None:
        """End the subscriptions because the user has lost access to the project.

        A v1 client keeps its connection if it has other projects.
        """
        channel = Channel("project", pair[0])
        for connection in self._connections_of(pair):
            self.discard(connection, channel)
            self._perform(self._subscriptions.unsubscribe(connection, channel))
            remaining = self._subscriptions.channels_of(connection)
            has_others = any(other.kind == "project" for other in remaining)
            connection.revoke(pair[0], has_others=has_others)

    def give_up(self, pair: Pair) -> None:
        """Close the connections because the user's access could not be checked."""
        for connection in self._connections_of(pair):
            connection.end(CloseCode.UNAVAILABLE, "unavailable")

    def _connections_of(self, pair: Pair) -> list[Connection]:
        known = self._connections.get(pair)
        if known is None:
            return []
        return list(known) if isinstance(known, dict) else [known]
