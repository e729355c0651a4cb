"""A session whose time and randomness the test sets, and frames as a gateway sends them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from neverstale.client.effects import (
    DeadlinePassed,
    Deliver,
    Effect,
    Input,
    OpenSocket,
    Send,
    SocketClosed,
    Start,
    TextReceived,
    TokenReady,
)
from neverstale.client.messages import Message
from neverstale.client.session import Session

AT: Final = "2026-11-24T10:00:00.123456Z"
USER: Final = {"user:U": "user:U.g.r.1"}
Kind = TypeVar("Kind", bound=Effect)


class Driver:
    """Feeds a session. What each input leads to is in ``effects``, until the next one."""

    def __init__(
        self,
        projects: Iterable[str] = ("P",),
        cursors: Mapping[str, str] | None = None,
        *,
        can_renew: bool = True,
    ) -> None:
        self.session = Session(
            projects, cursors or {}, can_renew=can_renew, max_backoff_seconds=30.0
        )
        self.now = 100.0
        self.random = 0.5
        self.effects: list[Effect] = []

    def feed(self, input_: Input) -> list[Effect]:
        self.effects = self.session.handle(input_, now=self.now, random=self.random)
        return self.effects

    def receive(self, **frame: Any) -> list[Effect]:
        return self.feed(TextReceived(json.dumps(frame)))

    def close(self, code: int | None) -> list[Effect]:
        return self.feed(SocketClosed(code, "lost"))

    def open(self) -> str:
        """Start, use a token, and return the query of the socket's URL."""
        self.feed(Start())
        return self.use_token()

    def use_token(self) -> str:
        self.feed(TokenReady())
        [opened] = self.of(OpenSocket)
        return opened.query

    def connect(self, cursors: Mapping[str, str], resumed: Iterable[str] = ()) -> list[Effect]:
        """Open a socket, and receive ``connected`` on it."""
        self.open()
        return self.greet(cursors, resumed)

    def greet(self, cursors: Mapping[str, str], resumed: Iterable[str] = ()) -> list[Effect]:
        return self.receive(
            type="connected", cursors=cursors, resumed=list(resumed), heartbeat=30
        )

    def pass_deadline(self) -> list[Effect]:
        """Let time pass until the session wants to do something."""
        assert self.session.deadline is not None
        self.now = self.session.deadline
        return self.feed(DeadlinePassed())

    @property
    def delay(self) -> float | None:
        """The seconds to the session's deadline."""
        deadline = self.session.deadline
        return None if deadline is None else round(deadline - self.now, 6)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The newest effects of a kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def messages(self) -> list[Message]:
        return [delivered.message for delivered in self.of(Deliver)]

    @property
    def sent(self) -> list[Mapping[str, Any]]:
        return [send.message for send in self.of(Send)]


def cursor(project_id: str, offset: int = 1) -> str:
    return f"project:{project_id}.g.r.{offset}"


def project(project_id: str, offset: int = 1) -> dict[str, str]:
    """The cursors of one project's channel."""
    return {f"project:{project_id}": cursor(project_id, offset)}


def change(
    project_id: str | None = "P", *, channel: str = "project:P", offset: int = 2, **more: Any
) -> dict[str, Any]:
    """A ``cache_invalidate`` frame."""
    kind, _, id_ = channel.partition(":")
    return {
        "type": "cache_invalidate",
        "resource": "task",
        "action": "UPDATE",
        "project_id": project_id,
        "data": {"id": "T", "timestamp": AT},
        "channel": channel,
        "cursor": f"{kind}:{id_}.g.r.{offset}",
        **more,
    }
