"""Start our programs in forks of a process that has imported them already.

Importing a listener or a gateway takes over a second of CPU, and the tests start a thousand of
them. The forks are processes like any others: they have an environment, a working directory,
standard streams and signals of their own, and run ``__main__`` from its first line.

As a program, this module is the process that forks. For each request it forks a supervisor,
which forks the program, reports its pid, waits for it and reports its exit code.
"""

import asyncio
import atexit
import functools
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from deploy.dev.servers import die_with_parent

ROOT: Final = Path(__file__).parents[2]
PROGRAMS: Final = ("listener", "gateway", "operations", "neverstale")
_MAX_REQUEST_BYTES: Final = 128 * 1024
_IS_MEASURED: Final = "COVERAGE_PROCESS_CONFIG"  # set by coverage's "patch = subprocess"


class Program:
    """A running program, with the interface of ``asyncio.subprocess.Process``."""

    def __init__(
        self,
        pid: int,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
        ended: asyncio.Task[int],
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._ended = ended

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read both streams to their ends. Return them once the program has ended."""
        assert self.stdout is not None
        assert self.stderr is not None
        output, errors = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await self.wait()
        return output, errors


async def start_program(
    module: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    output: IO[bytes] | None = None,
) -> Program:
    """Start ``python -m module arguments``.

    Standard output and error go to pipes, or both to the file *output*.
    """
    ours, theirs = socket.socketpair()
    theirs_fds = [os.open(os.devnull, os.O_RDONLY)]
    pipes = []
    for _ in ("stdout", "stderr"):
        if output is None:
            read_end, write_end = os.pipe()
            pipes.append(read_end)
        else:
            write_end = os.dup(output.fileno())
        theirs_fds.append(write_end)
    request = {"argv": [module, *arguments], "cwd": str(cwd), "env": dict(env)}
    socket.send_fds(
        _forking_process(),
        [json.dumps(request).encode()],
        [theirs.fileno(), *theirs_fds],
    )
    theirs.close()
    for fd in theirs_fds:
        os.close(fd)
    replies, writer = await asyncio.open_connection(sock=ours)
    pid = int(await replies.readline())

    async def wait() -> int:
        try:
            return int(await replies.readline())
        finally:
            writer.close()

    ended = asyncio.get_running_loop().create_task(wait())
    if output is not None:
        return Program(pid, None, None, ended)
    out, err = [await _read_pipe(fd) for fd in pipes]
    return Program(pid, out, err, ended)


async def _read_pipe(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    return reader


@functools.cache
def _forking_process() -> socket.socket:
    """Start the process that forks, once per process. It ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: value for name, value in os.environ.items() if name != _IS_MEASURED}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env=environment,
            pass_fds=[theirs.fileno()],
            preexec_fn=die_with_parent,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(control: socket.socket) -> None:
    """Fork for each request, until the other end is closed or in a program's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, fds, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, 4)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            die_with_parent()
            _supervise(json.loads(request), socket.socket(fileno=fds[0]), fds[1:])
            return
        for fd in fds:
            os.close(fd)


def _supervise(request: dict[str, object], reply: socket.socket, streams: list[int]) -> None:
    """Fork the program and report on it. Returns in the program's process, at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        reply.close()
        die_with_parent()
        _run(request, streams)
        return
    for fd in (0, 1, 2, *streams):
        os.close(fd)
    reply.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    reply.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(request: dict[str, object], streams: Sequence[int]) -> None:
    for target, fd in enumerate(streams):
        os.dup2(fd, target)
        os.close(fd)
    argv, environment = request["argv"], request["env"]
    assert isinstance(argv, list)
    assert isinstance(environment, dict)
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(environment)
    if _IS_MEASURED in environment:
        from coverage import process_startup

        process_startup()
    sys.argv = argv
    # it is ignored in what a shell runs in the background, and so in all that is started there
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for program in PROGRAMS:
        __import__(f"{program}.__main__")
        del sys.modules[f"{program}.__main__"]
    gc.freeze()  # so that no collection in a fork copies the pages of what was imported
    _serve(socket.socket(fileno=int(sys.argv[1])))
