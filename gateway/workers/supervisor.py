"""Runs several workers behind one port: processes that are each a whole gateway.

Every worker has a listening socket of its own for the port (``SO_REUSEPORT``, socket(7)), and
the kernel spreads new connections over these by a hash of their addresses. This process holds
the sockets open too, so what waits for a worker that has ended is served by its successor.
"""

import asyncio
import gc
import logging
import mmap
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.runtime.backoff import Backoff
from shared.runtime.lifecycle import EXIT_FINE, FatalError

CRASHED: Final = (
    70  # the exit code of a worker with an unexpected error (EX_SOFTWARE, sysexits.h)
)
BEAT_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 15.0  # a worker whose loop stands still for so long is killed
MAX_FOLDER_CHARACTERS: Final = 90  # a Unix socket's path has 107 (unix(7))
STABLE_SECONDS: Final = 10.0  # a worker that lived that long is replaced without much delay
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_AWAITED: Final = (*_STOPS, signal.SIGCHLD)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the workers, as it is told at its start.

    ``sockets`` are bound to the port. ``siblings`` are the paths of the Unix sockets on which
    the other workers answer for themselves, and ``path`` is its own. ``lifeline`` is readable
    once the supervisor is gone. ``beats`` is memory shared with it: for each worker when its
    event loop last ran, in ns of the monotonic clock; 0: it has not yet.
    """

    number: int
    sockets: Sequence[socket.socket]
    path: Path
    siblings: Sequence[Path]
    lifeline: int
    beats: memoryview

    def follow_supervisor(self, stop: asyncio.Event) -> None:
        """Show the supervisor that the loop runs, and set *stop* when it is gone: nobody would
        end this process otherwise.
        """
        loop = asyncio.get_running_loop()

        def beat() -> None:
            self.beats[self.number] = time.monotonic_ns()
            loop.call_later(BEAT_SECONDS, beat)

        def react() -> None:
            loop.remove_reader(self.lifeline)
            stop.set()

        loop.add_reader(self.lifeline, react)
        beat()


def supervise(count: int, host: str, port: int, work: Callable[[Worker], int]) -> int:
    """Run workers until a signal stops them. Return the exit code.

    *work* runs in a worker's process and returns its exit code. A worker that crashes or is
    killed is replaced. One that returns a failure can't work here, nor can the others: all are
    stopped.

    Raises:
        FatalError: the port is not available.
    """
    try:
        bound = [_bind(host, port, number) for number in range(count)]
    except OSError as exc:
        raise FatalError(
            f"can't listen on port {port} ({exc.strerror}): set PORT to another"
        ) from exc
    try:
        folder = Path(tempfile.mkdtemp(prefix="neverstale-"))
    except OSError as exc:
        raise FatalError(f"WORKERS needs a folder for its sockets, in TMPDIR: {exc}") from exc
    if len(str(folder)) > MAX_FOLDER_CHARACTERS:
        raise FatalError(f"TMPDIR is too long for the name of a socket: {folder}")
    lifeline, held = os.pipe()
    beats = memoryview(mmap.mmap(-1, 8 * count)).cast("q")
    paths = [folder / str(number) for number in range(count)]
    workers = [
        Worker(
            number,
            bound[number],
            paths[number],
            [path for path in paths if path != paths[number]],
            lifeline,
            beats,
        )
        for number in range(count)
    ]
    try:
        return _Supervisor(workers, work, held).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bind(host: str, port: int, number: int) -> list[socket.socket]:
    """Bind one worker's sockets, without listening: one for each address of the host."""
    bound = []
    found = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, kind, protocol, _, address in dict.fromkeys(found):
        if number == 0:
            _check_free(family, kind, protocol, address)
        one = socket.socket(family, kind, protocol)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        bound.append(one)
    return bound


def _check_free(family: int, kind: int, protocol: int, address: object) -> None:
    """Raise ``OSError`` if another program has the port: with ``SO_REUSEPORT`` alone, another
    gateway of the same user would get a share of our connections instead.
    """
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)  # type: ignore[arg-type]


class _Supervisor:
    """Starts the workers by ``fork``, waits for signals, and replaces the workers that end.

    It has no event loop and no threads, so it can fork at any time.
    """

    def __init__(
        self, workers: Sequence[Worker], work: Callable[[Worker], int], held: int
    ) -> None:
        self._workers = workers
        self._work = work
        self._held = held  # the other end of the lifeline
        self._running: dict[int, tuple[Worker, float]] = {}  # by process id, with the start
        self._due = [(0.0, worker) for worker in workers]
        self._backoffs = [Backoff() for _ in workers]
        self._is_stopping = False
        self._looked_at = time.monotonic()
        self._exit_code = EXIT_FINE

    def run(self) -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, no worker could be awaited
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        gc.collect()
        gc.freeze()  # the workers share what is loaded
        while self._running or not self._is_stopping:
            now = time.monotonic()
            for entry in [entry for entry in self._due if entry[0] <= now]:
                self._due.remove(entry)
                self._start(entry[1])
            self._kill_stuck(now)
            pause = min((due - now for due, _ in self._due), default=BEAT_SECONDS)
            caught = signal.sigtimedwait(_AWAITED, max(0.0, min(pause, BEAT_SECONDS)))
            if caught is not None and caught.si_signo in _STOPS:
                self._stop()
            self._reap()
        return self._exit_code

    def _start(self, worker: Worker) -> None:
        worker.beats[worker.number] = 0
        try:
            process_id = os.fork()
        except OSError as exc:  # too many processes, or no memory
            self._retry(worker, "a worker cannot be started", reason=str(exc))
            return
        if process_id == 0:
            self._become(worker)
        self._running[process_id] = (worker, time.monotonic())
        log.info("worker started", extra={"worker": worker.number, "pid": process_id})

    def _become(self, worker: Worker) -> None:
        """Run the worker in this new process, and end it."""
        code = CRASHED
        try:
            os.close(self._held)  # or the end of the supervisor would not show
            for other in self._workers:
                for one in other.sockets if other is not worker else ():
                    one.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            code = self._work(worker)
        except BaseException:  # the process ends here, whatever it was
            log.critical("failed unexpectedly", exc_info=True)
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def _kill_stuck(self, now: float) -> None:
        """Kill workers whose loop stands still: they hold connections, and serve none."""
        if now - self._looked_at > STUCK_SECONDS / 2:  # so did this process, e.g. suspended
            self._looked_at = now + STUCK_SECONDS
        if now < self._looked_at:
            return
        self._looked_at = now
        for process_id, (worker, _) in self._running.items():
            beat = worker.beats[worker.number]
            if beat and now - beat / 1e9 > STUCK_SECONDS:
                log.error("worker is stuck: killed", extra={"worker": worker.number})
                os.kill(process_id, signal.SIGKILL)

    def _stop(self) -> None:
        """Let all workers drain. From now on each one's socket is its own to close."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._due.clear()
        for worker in self._workers:
            for one in worker.sockets:
                one.close()
        for process_id in self._running:
            os.kill(process_id, signal.SIGTERM)

    def _reap(self) -> None:
        while self._running:
            process_id, status = os.waitpid(-1, os.WNOHANG)
            if process_id == 0:
                return
            if process_id not in self._running:
                continue
            worker, started = self._running.pop(process_id)
            code = os.waitstatus_to_exitcode(status)  # of a signal: its number, negative
            if self._is_stopping:
                self._exit_code = self._exit_code or max(code, 0)
            elif code in (CRASHED, EXIT_FINE) or code < 0:
                self._replace(worker, code, time.monotonic() - started)
            else:
                self._exit_code = code
                self._stop()

    def _replace(self, worker: Worker, code: int, lived_seconds: float) -> None:
        if lived_seconds >= STABLE_SECONDS:
            self._backoffs[worker.number].reset()
        self._retry(worker, "worker ended: another one takes its place", exit_code=code)

    def _retry(self, worker: Worker, message: str, **details: object) -> None:
        delay = self._backoffs[worker.number].next_delay()
        self._due.append((time.monotonic() + delay, worker))
        log.error(
            message,
            extra={"worker": worker.number, **details, "delay_seconds": round(delay, 3)},
        )
