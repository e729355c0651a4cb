"""The load client: very many lightweight sockets in a separate process.

The parent sends commands over a pipe. Only ``read`` and ``finish`` are answered.
"""

import asyncio
import gc
import itertools
import os
import random
import socket
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, cast

import jwt
import orjson
import uvloop

from tests.load.accounting import BROKEN, Microseconds, histogram, judge
from tests.load.subscriber import (
    Absence,
    Assignment,
    ForgetfulSubscriber,
    Subscriber,
    Tally,
)
from tests.load.wire import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Refused,
    ServerBroke,
    check_upgraded,
    client_frame,
    split_frames,
    upgrade_request,
    uuid_of,
)
from tests.support.machine import allow_many_files

CONNECTING_AT_ONCE: Final = 64
OPEN_SECONDS: Final = 20.0
LONGEST_PAUSE_SECONDS: Final = 5.0
DRAINED_PAUSE_SECONDS: Final = 1.0  # docs/reference/wire.md, section 4
DRAINING: Final = 1012
LAG_PROBE_SECONDS: Final = 0.01
SLOW_RECEIVE_BUFFER_BYTES: Final = 16 * 1024
EXAMPLES: Final = 5
_PING_FRAME: Final = client_frame(TEXT, b'{"type":"ping"}')


@dataclass(frozen=True)
class Plan:
    """The task of one client process."""

    assignments: list[Assignment]
    base_ns: int  # the monotonic clock at which the run's microseconds begin
    secret: str
    is_v1: bool
    loses_one: bool
    token_seconds: float | None = None  # None: tokens do not expire


@dataclass(frozen=True)
class Reading:
    """Counters of a client process since the run began."""

    live: int
    delivered: int
    resets: int
    recent_us: list[int]
    refused: list[str]  # examples of subscribers that are not live, and why


@dataclass(frozen=True)
class Lost:
    """A change that a subscriber neither received nor had covered by a reset."""

    subscriber: int
    project: int
    change: int


@dataclass(frozen=True)
class Findings:
    """What a client process recorded. Histograms by second of the write, encoded."""

    latencies: dict[int, bytes]
    by_event: int
    by_reset: int
    lost: int
    examples: list[Lost]
    counts: Counter[str]
    absences: list[Absence]
    lag_us: Microseconds


class Link(asyncio.Protocol):
    """One connection of a subscriber."""

    __slots__ = (
        "_fleet",
        "_is_upgraded",
        "_request",
        "_rest",
        "close_code",
        "greeted",
        "has_received",
        "subscriber",
        "transport",
    )
    transport: asyncio.Transport

    def __init__(
        self,
        fleet: "Fleet",
        subscriber: Subscriber,
        request: bytes,
        greeted: asyncio.Future[None],
    ) -> None:
        self.subscriber = subscriber
        self.greeted = greeted
        self.has_received = False
        self.close_code: int | None = None  # the server's
        self._fleet = fleet
        self._request = request
        self._rest = b""
        self._is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._receive(self._rest + data if self._rest else data)
        except (ServerBroke, Refused) as exc:
            self._fail(exc)

    def _receive(self, data: bytes) -> None:
        if not self._is_upgraded:
            head, mark, rest = data.partition(b"\r\n\r\n")
            if not mark:
                self._rest = data
                return
            check_upgraded(head)
            self._is_upgraded, data = True, rest
        frames, self._rest = split_frames(data)
        for opcode, payload in frames:
            if opcode == TEXT:
                self.has_received = True  # a browser's code sees no pings
                self.subscriber.receive(payload)
                if self.subscriber.must_renew:
                    self._fleet.renew_token(self)
                if not self.greeted.done():
                    self.greeted.set_result(None)
                    self._fleet.went_live(self)
            elif opcode == PING:
                self.transport.write(client_frame(PONG, payload))
            elif opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big")
                self._fleet.closed(self.close_code)
                self.transport.write(client_frame(CLOSE, payload[:2]))
                self.transport.close()
                return

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(
                exc or ConnectionResetError("closed before the greeting")
            )
        elif self.greeted.exception() is None:
            self._fleet.lost(self)

    def give_up(self) -> None:
        """End the connection unless it has been greeted."""
        if not self.greeted.done():
            self._fail(TimeoutError("not greeted in time"))

    def _fail(self, exc: ServerBroke | Refused | TimeoutError) -> None:
        if isinstance(exc, ServerBroke):
            self._fleet.tally.counts[f"{BROKEN}{exc}"] += 1
        if not self.greeted.done():
            self.greeted.set_exception(exc)
        self.transport.abort()


class Fleet:
    """All subscribers of this process."""

    def __init__(self, plan: Plan, tasks: asyncio.TaskGroup) -> None:
        self.tally = Tally(plan.base_ns)
        self._plan = plan
        self._tasks = tasks
        self._subscribers = [self._make(assignment) for assignment in plan.assignments]
        self._waiting = iter(self._subscribers)
        self._links: dict[int, Link] = {}  # the live ones, by their subscriber's number
        self._refused: dict[int, str] = {}  # why the others' last attempt failed
        self._connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._lag_us: Microseconds = array("I")

    def _make(self, assignment: Assignment) -> Subscriber:
        plan = self._plan
        kind = ForgetfulSubscriber if plan.loses_one and assignment.number == 0 else Subscriber
        return kind(assignment, self.tally, self._issue(assignment), is_v1=plan.is_v1)

    def _issue(self, assignment: Assignment) -> str:
        """Return a new token of the subscriber's user."""
        exp = 4_000_000_000
        if (seconds := self._plan.token_seconds) is not None:
            exp = round(time.time() + random.uniform(0.6, 1.0) * seconds)
        claims = {"sub": uuid_of(assignment.number), "exp": exp}
        return jwt.encode(claims, self._plan.secret, algorithm="HS256")

    def renew_token(self, link: Link) -> None:
        """Send a new token, as the gateway asks before the old one expires."""
        subscriber = link.subscriber
        subscriber.must_renew = False
        message = {"type": "auth", "token": self._issue(subscriber.assignment)}
        link.transport.write(client_frame(TEXT, orjson.dumps(message)))

    def obey(self, command: str, *arguments: Any) -> Reading | Findings | None:
        """Carry out a command of the parent and return its answer, if it has one."""
        match command:
            case "connect":
                self.connect(*arguments)
            case "cut":
                self.cut()
            case "cut_any":
                self.cut_any()
            case "pause":
                self.pause()
            case "wake":
                self.wake()
            case "read":
                return self.read()
            case "finish":
                return self.finish(*arguments)
            case _:
                raise ValueError(f"no such command: {command}")
        return None

    def connect(self, count: int) -> None:
        """Let the next *count* subscribers connect."""
        for subscriber in [next(self._waiting) for _ in range(count)]:
            self._tasks.create_task(self._connect_in_turn(subscriber))

    def cut(self) -> None:
        """Cut the connections that are to be cut. Their subscribers reconnect at once."""
        for link in list(self._links.values()):
            if link.subscriber.assignment.is_cut:
                link.transport.abort()

    def cut_any(self) -> None:
        """End one connection, in order or not. Its subscriber reconnects at once."""
        if self._links:
            transport = random.choice(list(self._links.values())).transport
            random.choice((transport.abort, transport.close))()

    def pause(self) -> None:
        """Make the slow subscribers stop reading."""
        for link in self._slow_links():
            link.transport.pause_reading()

    def wake(self) -> None:
        """Make the slow subscribers read again."""
        for link in self._slow_links():
            link.transport.resume_reading()

    def read(self) -> Reading:
        newest = max(self.tally.latencies_us, default=0)
        recent = self.tally.latencies_us[newest][-500:] if newest else []
        refused = [f"{number}: {why}" for number, why in self._refused.items()]
        return Reading(
            len(self._links),
            self.tally.delivered,
            self.tally.resets,
            list(recent),
            refused[:EXAMPLES],
        )

    def finish(self, acknowledged_us: Mapping[int, Microseconds]) -> Findings:
        """Judge all subscribers by the times at which commits were acknowledged."""
        tally = self.tally
        by_event = by_reset = lost = 0
        examples: list[Lost] = []
        for subscriber in self._subscribers:
            project = subscriber.assignment.project
            verdict = judge(
                subscriber.seen, acknowledged_us.get(project, array("I")), subscriber.reset_us
            )
            by_event += verdict.by_event
            by_reset += verdict.by_reset
            lost += len(verdict.lost)
            examples += [Lost(subscriber.assignment.number, project, n) for n in verdict.lost]
        latencies = {
            second: histogram(values).encode() for second, values in tally.latencies_us.items()
        }
        still_away = [
            (subscriber.left_us, tally.now_us())
            for subscriber in self._subscribers
            if subscriber.left_us is not None
        ]
        return Findings(
            latencies,
            by_event,
            by_reset,
            lost,
            examples[:EXAMPLES],
            tally.counts,
            tally.absences + still_away,
            self._lag_us,
        )

    def closed(self, code: int) -> None:
        """Record a connection that the server closed."""
        self.tally.counts[f"closed by the server: {code}"] += 1

    def went_live(self, link: Link) -> None:
        """Record a connection that was greeted."""
        number = link.subscriber.assignment.number
        self._links[number] = link
        self._refused.pop(number, None)

    def lost(self, link: Link) -> None:
        """Reconnect the subscriber of a live connection that has ended."""
        del self._links[link.subscriber.assignment.number]
        link.subscriber.left_us = self.tally.now_us()
        pause_seconds = DRAINED_PAUSE_SECONDS if link.close_code == DRAINING else 0.0
        self._tasks.create_task(
            self._reconnect(link.subscriber, random.uniform(0, pause_seconds))
        )

    async def watch_lag(self) -> None:
        """Measure how late this event loop is."""
        while True:
            due_ns = time.monotonic_ns() + int(LAG_PROBE_SECONDS * 1e9)
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self._lag_us.append(max(0, time.monotonic_ns() - due_ns) // 1000)

    async def send_pings(self) -> None:
        """Send a ping on each v1 connection that was silent for a heartbeat (wire.md)."""
        heartbeat_seconds = 30
        while self._plan.is_v1:
            for share in range(heartbeat_seconds):
                await asyncio.sleep(1)
                for number, link in self._links.items():
                    if number % heartbeat_seconds != share:
                        continue
                    if not link.has_received and not link.transport.is_closing():
                        link.transport.write(_PING_FRAME)
                    link.has_received = False

    def _slow_links(self) -> list[Link]:
        return [
            link
            for link in self._links.values()
            if link.subscriber.assignment.is_slow and not link.transport.is_closing()
        ]

    async def _connect_in_turn(self, subscriber: Subscriber) -> None:
        async with self._connecting:
            await self._connect(subscriber)

    async def _reconnect(self, subscriber: Subscriber, pause_seconds: float) -> None:
        await asyncio.sleep(pause_seconds)
        await self._connect(subscriber)

    async def _connect(self, subscriber: Subscriber) -> None:
        ports = subscriber.assignment.ports
        port = ports[0] if subscriber.left_us is None else random.choice(ports)
        for attempt in itertools.count():
            try:
                await self._open(subscriber, port)
            except (OSError, Refused, ServerBroke) as exc:
                why = f"{type(exc).__name__} {exc}"
                self.tally.counts[f"not connected: {why}"] += 1
                self._refused[subscriber.assignment.number] = why
                longest = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**attempt)
                await asyncio.sleep(random.uniform(0, longest))
                port = random.choice(ports)
            else:
                return

    async def _open(self, subscriber: Subscriber, port: int) -> None:
        loop, assignment = asyncio.get_running_loop(), subscriber.assignment
        greeted: asyncio.Future[None] = loop.create_future()
        if self._plan.token_seconds is not None:
            subscriber.token = self._issue(assignment)
        request = upgrade_request(
            port,
            uuid_of(assignment.project),
            subscriber.token,
            is_v1=self._plan.is_v1,
            since=subscriber.cursors,
        )
        end = socket.socket()
        try:
            end.settimeout(0)
            if assignment.is_slow:  # so that unread data soon fills the gateway's side
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RECEIVE_BUFFER_BYTES)
            await loop.sock_connect(end, ("127.0.0.1", port))
        except BaseException:
            end.close()
            raise
        _, link = await loop.create_connection(
            lambda: Link(self, subscriber, request, greeted), sock=end
        )
        # no asyncio.timeout: if cancelled just as it is greeted, it would be live and reconnect
        deadline = loop.call_later(OPEN_SECONDS, link.give_up)
        try:
            await greeted
        finally:
            deadline.cancel()


async def _serve(parent: Connection, plan: Plan) -> None:
    """Carry out the parent's commands until it closes the pipe."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    async with asyncio.TaskGroup() as tasks:
        fleet = Fleet(plan, tasks)
        gc.disable()  # a garbage collection would count as latency

        def obey() -> None:
            try:
                command, *arguments = parent.recv()
            except EOFError:
                command, arguments = "stop", []
            if command == "stop":
                loop.remove_reader(parent.fileno())
                done.set_result(None)
            elif (answer := fleet.obey(command, *arguments)) is not None:
                parent.send(answer)

        def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            if not done.done():
                done.set_exception(context.get("exception") or RuntimeError(context["message"]))

        # the parent notices the end of this process, instead of waiting for an answer
        loop.set_exception_handler(fail)
        loop.add_reader(parent.fileno(), obey)
        # libuv has made the pipe non-blocking, and a long message arrives in pieces
        os.set_blocking(parent.fileno(), True)
        tasks.create_task(fleet.watch_lag())
        tasks.create_task(fleet.send_pings())
        await done
        raise _Stopped


class _Stopped(Exception):
    """Raised when the parent is done with this process, to end all of its tasks."""


def run_client(parent: Connection, plan: Plan) -> None:
    """Run the client process."""
    allow_many_files()
    try:
        uvloop.run(_serve(parent, plan))
    except* _Stopped:
        pass
