"""What happens to a session, and what it wants done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from neverstale.client.errors import Refused
from neverstale.client.messages import Message


@dataclass(frozen=True, slots=True)
class Start:
    pass


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow the project; ask again if it was refused."""

    project_id: str


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    project_id: str


@dataclass(frozen=True, slots=True)
class TokenReady:
    """The token that was asked for last can be used."""


@dataclass(frozen=True, slots=True)
class NoToken:
    """There is none now because of an error; None: there is none at all."""

    error: str | None


@dataclass(frozen=True, slots=True)
class TextReceived:
    text: str


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The socket closed, or could not be opened (no code)."""

    code: int | None
    error: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    pass


Input: TypeAlias = (
    Start
    | Subscribe
    | Unsubscribe
    | TokenReady
    | NoToken
    | TextReceived
    | SocketClosed
    | DeadlinePassed
)


@dataclass(frozen=True, slots=True)
class AskToken:
    """Get a token, and forget any other request for one. ``refresh``: the last one was refused
    or expires soon.
    """

    refresh: bool


@dataclass(frozen=True, slots=True)
class OpenSocket:
    query: str


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the socket, or stop opening it, and ignore it from now on."""


@dataclass(frozen=True, slots=True)
class Send:
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SendToken:
    """Send the newest token on the open socket."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand a message to the app. ``changes``: new cursors, of which None removes one."""

    message: Message
    changes: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Warn:
    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Nothing more will happen."""

    error: Refused


Effect: TypeAlias = (
    AskToken | OpenSocket | CloseSocket | Send | SendToken | Deliver | Warn | Fail
)
