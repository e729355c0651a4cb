"""The client: a session on aiohttp."""

import asyncio
import inspect
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, assert_never

import aiohttp

from neverstale.client.effects import (
    AskToken,
    CloseSocket,
    DeadlinePassed,
    Deliver,
    Effect,
    Fail,
    Input,
    NoToken,
    OpenSocket,
    Send,
    SendToken,
    SocketClosed,
    Start,
    Subscribe,
    TextReceived,
    TokenReady,
    Unsubscribe,
    Warn,
)
from neverstale.client.errors import Refused, Unauthorized
from neverstale.client.frames import SUBPROTOCOL, parse_endpoint
from neverstale.client.inbox import Inbox
from neverstale.client.messages import Cursors, Message
from neverstale.client.session import Session

# Returns a JWT, or None if there is none. Its argument, `refresh`, says that the last one was
# refused or expires soon, so that a cached one would not do.
TokenSource: TypeAlias = Callable[[bool], Awaitable[str | None] | str | None]

_CLOSING: Final = aiohttp.ClientWSTimeout(ws_close=1.0)  # for the close handshake
_TOKEN: Final = re.compile(r"(?:bearer )?([\w.-]+)", re.IGNORECASE | re.ASCII)
_log: Final = logging.getLogger("neverstale.client")


class Client:
    """Follows the changes of projects, and of the token's user, as messages to iterate over.

    It connects when it is entered, reconnects by itself, and stops when it is left. Messages
    come at least once, and in order for each project; several changes of a row may come as
    one. It belongs to one event loop, and is used once.

    Args:
        url: the gateway's endpoint, ``wss://HOST/api/v1/messages/ws``.
        token: a JWT, or a function, async or not, that makes one. It is called with
            ``refresh`` before each connection and before the token expires, and may raise:
            it is called again later. None, or ``Unauthorized`` raised, ends the client.
        projects: ids to follow from the beginning, spelled as the database spells them.
        cursors: those of the last message that was processed, with all that was cached then;
            without them the client starts with resets.
        session: an aiohttp session to use, with its proxies and TLS settings. It is not
            closed. Default: one of its own.
        max_messages: how many messages wait for the app at most. If more come, a reset of
            everything replaces them.
        max_backoff_seconds: bound of the delay between attempts, which is random and grows
            from below 1 s.

    Raises:
        ValueError: ``url`` is none of a gateway, or a number is not positive.
        TypeError: ``projects`` is a text, which would be read as an id for each character.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | TokenSource,
        projects: Iterable[str] = (),
        cursors: Cursors | None = None,
        session: aiohttp.ClientSession | None = None,
        max_messages: int = 10_000,
        max_backoff_seconds: float = 30.0,
    ) -> None:
        if isinstance(projects, str):
            raise TypeError("projects must be several ids, not one text")
        if max_messages < 1 or max_backoff_seconds <= 0:
            raise ValueError("max_messages and max_backoff_seconds must be positive")
        self._url = parse_endpoint(url)
        self._source = token
        self._token = ""
        self._given_http = session
        self._inbox = Inbox(cursors or {}, max_messages)
        self._session = Session(
            projects,
            cursors or {},
            can_renew=not isinstance(token, str),
            max_backoff_seconds=max_backoff_seconds,
        )
        self._arrived = asyncio.Event()  # a message, or the end
        self._is_over = False
        self._error: Refused | None = None
        self._stack = AsyncExitStack()
        self._tasks = asyncio.TaskGroup()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._socket_task: asyncio.Task[None] | None = None
        self._token_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        http = self._given_http
        if http is None:
            http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._http = http
        await self._tasks.__aenter__()
        self._handle(Start())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        async with self._stack:
            # Not told of the body's error, which it would wrap into a group.
            await self._tasks.__aexit__(None, None, None)

    def subscribe(self, project_id: str) -> None:
        """Follow a project. One that was refused is asked for again.

        A reset of it comes first, unless the client was given its cursor. When changes of it
        arrive, it is among a status's ``projects``.
        """
        self._handle(Subscribe(project_id))

    def unsubscribe(self, project_id: str) -> None:
        """Follow a project no longer. Messages that arrived before still come."""
        self._handle(Unsubscribe(project_id))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """Wait for the next message. If the wait is cancelled, no message is lost.

        Raises:
            Refused: the client has ended; all messages were taken.
        """
        while True:
            if self._inbox:
                return self._inbox.take()
            if self._error is not None:
                raise self._error
            if self._is_over:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    def _handle(self, input_: Input) -> None:
        if self._is_over:
            return
        loop = asyncio.get_running_loop()
        jitter = random.random()  # noqa: S311 it spreads clients
        for effect in self._session.handle(input_, now=loop.time(), random=jitter):
            self._perform(effect)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._session.deadline
        if deadline is not None:
            self._timer = loop.call_at(deadline, self._handle, DeadlinePassed())

    def _perform(self, effect: Effect) -> None:
        match effect:
            case AskToken(refresh):
                _cancel(self._token_task)
                self._token_task = self._tasks.create_task(self._ask_token(refresh=refresh))
            case OpenSocket(query):
                self._socket_task = self._tasks.create_task(self._follow(query))
            case CloseSocket():
                _cancel(self._socket_task)
                self._socket = None
            case Send(message):
                self._send(message)
            case SendToken():
                self._send({"type": "auth", "token": self._token})
            case Deliver(message, changes):
                if not self._inbox.put(message, changes):
                    _log.warning("messages are not read: a reset replaces them")
                self._arrived.set()
            case Warn(text):
                _log.warning("%s", text)
            case Fail(error):
                self._error = error
                self._stop()
            case _:
                assert_never(effect)

    def _stop(self) -> None:
        self._is_over = True
        _cancel(self._socket_task)
        _cancel(self._token_task)
        if self._timer is not None:
            self._timer.cancel()
        self._arrived.set()

    async def _ask_token(self, *, refresh: bool) -> None:
        try:
            self._token = await self._next_token(refresh=refresh)
        except Unauthorized:
            self._handle(NoToken(None))
        except Exception as exc:  # noqa: BLE001 whatever the app's function raises
            self._handle(NoToken(f"no token: {_describe(exc)}"))
        else:
            self._handle(TokenReady())

    async def _next_token(self, *, refresh: bool) -> str:
        token: Awaitable[str | None] | str | None
        token = self._source if isinstance(self._source, str) else self._source(refresh)
        if inspect.isawaitable(token):
            token = await token
        if token is None:
            raise Unauthorized
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            raise ValueError("it is not a JWT")
        return parts[1]

    async def _follow(self, query: str) -> None:
        """Hold one socket, until it closes or is not wanted any more."""
        code = None
        try:
            async with self._http.ws_connect(
                f"{self._url}?{query}",
                headers={"Authorization": f"Bearer {self._token}"},
                protocols=(SUBPROTOCOL,),
                timeout=_CLOSING,
            ) as socket:
                self._socket = socket
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._handle(TextReceived(message.data))
                    if self._socket is not socket:
                        return
                code = socket.close_code
                error = f"the socket was closed with code {code}"
        except (aiohttp.ClientError, OSError) as exc:
            error = f"cannot connect: {_describe(exc)}"
        self._handle(SocketClosed(code, error))

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._socket is not None:
            self._tasks.create_task(_send(self._socket, json.dumps(message)))


async def _send(socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    # A lost socket is noticed by the task that reads it.
    with suppress(aiohttp.ClientError, OSError):
        await socket.send_str(text)


def _describe(error: Exception) -> str:
    """The text of an error; its ``repr`` may show the token."""
    return f"{type(error).__name__}: {error}"


def _cancel(task: asyncio.Task[None] | None) -> None:
    """Cancel a task, unless it is the one that runs."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()
