"""An event loop with simulated time, and calls that a schedule executes and answers.

The real adapters run on it. Nothing waits in real time, and every order of steps is possible.
"""

import asyncio
from asyncio import events
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class _NoSelector:
    def select(self, _timeout: float | None) -> Sequence[None]:
        return ()


class Loop(asyncio.BaseEventLoop):
    """Runs ready callbacks on request. Time only passes on request."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._now = 0.0
        self.connector: Callable[[str, asyncio.Protocol], asyncio.Transport]

    def time(self) -> float:
        return self._now

    def _process_events(self, _events: Sequence[None]) -> None:
        pass

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], host: str, _port: int, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = factory()
        transport = self.connector(host, protocol)
        protocol.connection_made(transport)
        return transport, protocol

    def do(self, action: Callable[[], T]) -> T:
        """Run *act* inside the loop, then all callbacks that are ready now."""
        events._set_running_loop(self)
        try:
            result = action()
            while self._ready:  # type: ignore[attr-defined]
                self._run_once()  # type: ignore[attr-defined]
            return result
        finally:
            events._set_running_loop(None)

    def settle(self) -> None:
        self.do(lambda: None)

    def advance(self, seconds: float) -> None:
        """Let time pass, and run each timer when it is due."""
        end = self._now + seconds
        self.settle()
        while True:
            due = min((t.when() for t in self._scheduled if not t.cancelled()), default=None)  # type: ignore[attr-defined]
            if due is None or due > end:
                break
            self._now = max(self._now, due)
            self.do(self._run_once)  # type: ignore[attr-defined]
        self._now = end


@dataclass(eq=False, slots=True)
class Call:
    """A request of a process to a server, executed in one step and answered in another."""

    server: str
    what: str
    run: Callable[[], Any]
    future: "asyncio.Future[Any]"
    outcome: Callable[[], Any] | None = None
    is_done: bool = False


class Calls:
    """The unanswered calls, by the process that waits for them."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.of: dict[str, list[Call]] = {}

    async def make(
        self, owner: str, server: str, what: str, run: Callable[[], T], *, whole: bool = False
    ) -> T:
        """Queue a call, and return its answer. ``whole``: executed and answered in one step."""
        call = Call(server, what, run, self._loop.create_future())
        if whole:
            call.outcome = run
        calls = self.of.setdefault(owner, [])
        calls.append(call)
        try:
            result: T = await call.future
        finally:
            calls.remove(call)
        return result

    def step(self, owner: str, which: int = 0) -> bool:
        """Execute or answer one call of a process. Return whether there was one."""
        calls = [call for call in self.of.get(owner, ()) if not call.future.done()]
        if not calls:
            return False
        call = calls[which % len(calls)]
        if call.outcome is None:
            call.outcome = _outcome(call.run)
            call.is_done = True
        else:
            self._answer(call, call.outcome)
        return True

    def cut(self, server: str, error: Exception) -> None:
        """Fail all calls, executed or not: the server is gone."""
        for calls in self.of.values():
            for call in calls:
                if call.server == server and not call.future.done():
                    call.future.set_exception(error)
        self._loop.settle()

    def _answer(self, call: Call, outcome: Callable[[], Any]) -> None:
        try:
            call.future.set_result(outcome())
        except Exception as exc:  # noqa: BLE001 the caller gets it
            call.future.set_exception(exc)
        self._loop.settle()


def _outcome(run: Callable[[], Any]) -> Callable[[], Any]:
    try:
        result = run()
    except Exception as exc:  # noqa: BLE001
        error = exc

        def fail() -> Any:
            raise error

        return fail
    return lambda: result
