"""Answers the messages of v1 clients."""

from typing import Final

from gateway.access.revalidation import Revalidator
from gateway.auth.token_verifier import TokenVerifier
from gateway.delivery.fanout import Fanout
from gateway.http.project_access import ProjectAccess
from gateway.limits.rates import AUTH_COST, SocketLimits
from gateway.transport.client_messages import (
    Auth,
    InvalidMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    cost_of,
    parse_message,
)
from gateway.transport.connection import Connection
from shared.protocol.channels import Channel, IdType
from shared.protocol.close_codes import Refusal, unauthorized
from shared.protocol.frames import PONG_FRAME, auth_ok_frame, error_frame, unsubscribed_frame
from shared.protocol.replay import Since

_ANOTHER_USER: Final = unauthorized("the token is of another user: connect anew")


class MessageHandler:
    """Subscribes, unsubscribes and renews tokens as v1 clients ask for it."""

    def __init__(
        self,
        verifier: TokenVerifier,
        access: ProjectAccess,
        revalidator: Revalidator,
        fanout: Fanout,
        limits: SocketLimits,
        project_type: IdType,
    ) -> None:
        self._verifier = verifier
        self._access = access
        self._revalidator = revalidator
        self._fanout = fanout
        self._limits = limits
        self._project_type = project_type

    async def handle(self, connection: Connection, text: str) -> None:
        """Do what the message asks for, and answer it."""
        message = parse_message(text, self._project_type)
        connection.charge(cost_of(message, len(text)))
        answer: bytes | None = None
        match message:
            case Ping():
                answer = PONG_FRAME
            case InvalidMessage(explanation, project_id):
                answer = error_frame("bad_request", explanation, project_id=project_id)
            case Subscribe():
                answer = await self._subscribe(connection, message)
            case Unsubscribe(project_id):
                self._fanout.unsubscribe(connection, Channel("project", project_id))
                answer = unsubscribed_frame(project_id, "requested")
            case Auth(token):
                answer = await self._renew(connection, token)
        if answer is not None:
            connection.send(answer)

    async def _subscribe(self, connection: Connection, message: Subscribe) -> bytes | None:
        """Subscribe to the project, or return why not. The fan-out answers once it is live."""
        channel = Channel("project", message.project_id)
        since: Since = message.since
        if message.since is None or message.since.channel != channel:
            since = None
        if since is None and message.age_seconds is not None:
            since = self._fanout.loaded(message.age_seconds)
        subscribed = self._fanout.channels_of(connection)
        most = self._limits.max_projects
        if most and channel not in subscribed and len(subscribed) > most:  # one is the user's
            return error_frame(
                "too_many_subscriptions",
                f"a socket may hear of {most} projects: unsubscribe first",
                project_id=channel.id,
            )
        refusal = await self._access.refuse(channel.id, connection.user_id)
        if refusal is not None:
            return error_frame(refusal.code, refusal.message, project_id=channel.id)
        self._fanout.subscribe(connection, channel, since)
        self._access.recheck_if_stale(channel.id, connection.user_id)
        return None

    async def _renew(self, connection: Connection, token: str) -> bytes | None:
        """Continue with a new token of the same user, and check the user's access again.

        A token that says nothing new costs nothing. One that is refused changes nothing: the
        old one stays valid.
        """
        identity = await self._verifier.verify(token)
        if identity != connection.identity:
            connection.charge(AUTH_COST)
        if isinstance(identity, Refusal):
            return error_frame(identity.code, identity.message)
        if identity.user_id != connection.user_id:
            connection.end_with(_ANOTHER_USER)
            return None
        if identity != connection.identity:
            connection.renew(identity)
            self._revalidator.revalidate_user(identity.user_id)
        return auth_ok_frame(max(0, round(self._verifier.seconds_left(identity))))
