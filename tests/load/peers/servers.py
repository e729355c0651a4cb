"""The servers that ``make bench`` compares: each serves WebSockets of numbered channels."""

import asyncio
import base64
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

from deploy.dev.servers import die_with_parent, free_port
from tests.load.bench import fresh_world, make_projects, unlimited_gateway
from tests.support.processes import ROOT, WS_PATH, Part, token
from tests.support.v1_client import notify
from tests.support.world import World

HERE: Final = Path(__file__).parent
SERVER_CORE: Final = 0
READY_SECONDS: Final = 30.0
MESSAGE_BYTES: Final = 250
# Longer than the time before a page of one second from which its client gets what it may have
# missed (``Liveness.loaded``).
SETTLE_SECONDS: Final = 10.0
NCHAN: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


class Unavailable(Exception):
    """The server can't be measured here; the text says why and what to do."""


def upgrade(port: int, path: str, *headers: str) -> bytes:
    """The request of a WebSocket handshake."""
    key = base64.b64encode(b"a key of 16 byte").decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def message_text(number: int) -> str:
    """As long as one of our events, and like it JSON."""
    return '{"number":"' + str(number).rjust(MESSAGE_BYTES - 13) + '"}'


def masked_text(text: str) -> bytes:
    """A client's text frame; its mask is zero."""
    payload = text.encode()
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


class Server(ABC):
    """A running server. ``greetings`` are the frames that it sends to each new connection."""

    name: ClassVar[str]
    greetings: ClassVar[int] = 0

    def __init__(self) -> None:
        self.port = free_port()
        self.pid = 0

    @classmethod
    @abstractmethod
    def running(cls) -> AbstractAsyncContextManager["Server"]:
        """Yield a running server. Raises ``Unavailable``."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    async def publish(self, channel: int, messages: Sequence[int]) -> None:
        """Publish these messages at once. Each makes a frame of about 250 bytes."""

    def request(self, channel: int, client: int) -> bytes:
        """The handshake of a client, which subscribes to a channel."""
        return upgrade(self.port, f"/{channel}")

    def hello(self, channel: int, client: int) -> bytes:
        """What the client sends once it is connected."""
        return b""

    async def prepare(self, channels: int, clients: int, subscribers: int) -> None:  # noqa: B027 most need nothing
        """Make what so many channels need, with the clients spread over them, and the first of
        these as *subscribers* of channel 0.
        """

    async def settle(self) -> None:  # noqa: B027 most keep nothing
        """Wait until new clients get nothing of what was published before."""


class ControlledServer(Server):
    """A process that takes messages on a port, as ``server.c`` describes."""

    def __init__(self) -> None:
        super().__init__()
        self.control_port = free_port()
        self._writer: asyncio.StreamWriter | None = None

    async def start(self, *command: str) -> subprocess.Popen[bytes]:
        process = start(*command)
        self.pid = process.pid
        await until_listening(process, self.port, self.control_port)
        _, self._writer = await asyncio.open_connection("127.0.0.1", self.control_port)
        made = self._writer.get_extra_info("socket")
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return process

    async def publish(self, channel: int, messages: Sequence[int]) -> None:
        assert self._writer is not None
        texts = [message_text(number) for number in messages]
        self._writer.write("".join(f"{channel} {len(text)}\n{text}" for text in texts).encode())
        await self._writer.drain()


def start(*command: str, core: int = SERVER_CORE) -> subprocess.Popen[bytes]:
    """Start a program on one core."""

    def before() -> None:
        die_with_parent()
        os.sched_setaffinity(0, {core})

    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        preexec_fn=before,
    )


async def until_listening(process: subprocess.Popen[bytes], *ports: int) -> None:
    async with asyncio.timeout(READY_SECONDS):
        for port in ports:
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    if process.poll() is not None:
                        raise Unavailable(f"it ended with {process.returncode}") from None
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break


def version_of(*command: str) -> str:
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return (found.stdout + found.stderr).strip().splitlines()[0]


def build(name: str) -> Path:
    """Compile ``<name>.c``. Return the program. Raises ``Unavailable``."""
    if shutil.which("gcc") is None:
        raise Unavailable("there is no C compiler: apt-get install gcc")
    program = Path(tempfile.gettempdir()) / f"neverstale-bench-{name}-{os.getpid()}"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / f"{name}.c"], check=True)
    return program


class CLoop(ControlledServer):
    name = "C send() loop"

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        self = cls()
        program = build("server")
        process = await self.start(str(program), str(self.port), str(self.control_port))
        try:
            yield self
        finally:
            process.kill()
            program.unlink()

    def version(self) -> str:
        return version_of("gcc", "--version")


async def first_child(pid: int) -> int:
    """The process that a process has started, once it has."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    async with asyncio.timeout(READY_SECONDS):
        while not (found := children.read_text().split()):  # noqa: ASYNC240 a file of the kernel's
            await asyncio.sleep(0.05)
    return int(found[0])


class Nchan(Server):
    name = "nginx nchan"
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _CONFIG: Final = """
load_module {module};
worker_processes 1;
daemon off;
error_log stderr crit;
pid {folder}/pid;
events {{ worker_connections 40000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  nchan_shared_memory_size 512M;
  nchan_message_buffer_length 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/publish/(\\d+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    location ~ ^/(\\d+)$ {{ nchan_subscriber websocket; nchan_channel_id $1; }}
  }}
}}
"""

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        if not NCHAN.exists():
            raise Unavailable("not installed: apt-get install nginx-light libnginx-mod-nchan")
        self = cls()
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "nginx.conf"
            config.write_text(cls._CONFIG.format(folder=folder, port=self.port, module=NCHAN))
            process = start("nginx", "-p", folder, "-c", str(config))
            try:
                await until_listening(process, self.port)
                self.pid = await first_child(process.pid)
                self._reader, self._writer = await asyncio.open_connection(
                    "127.0.0.1", self.port
                )
                yield self
            finally:
                process.terminate()
                process.wait()

    def version(self) -> str:
        return (
            version_of("nginx", "-v")
            + ", "
            + version_of("dpkg-query", "-W", "libnginx-mod-nchan")
        )

    async def publish(self, channel: int, messages: Sequence[int]) -> None:
        requests = [
            f"POST /publish/{channel} HTTP/1.1\r\nHost: x\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}"
            for text in map(message_text, messages)
        ]
        self._writer.write("".join(requests).encode())
        for _ in messages:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = head.partition("content-length:")[2].partition("\r\n")[0]
            await self._reader.readexactly(int(size or 0))


class NodeWs(ControlledServer):
    name = "Node ws"

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        modules = ROOT / "client" / "node_modules"
        if shutil.which("node") is None or not (modules / "ws").exists():
            raise Unavailable("Node or client/node_modules is missing: make test-client")
        self = cls()
        with tempfile.TemporaryDirectory() as folder:
            program = copy_programs("ws_server.mjs", Path(folder))
            (Path(folder) / "node_modules").symlink_to(modules)
            process = await self.start(
                "node", str(program), str(self.port), str(self.control_port)
            )
            try:
                yield self
            finally:
                process.kill()

    def version(self) -> str:
        package = ROOT / "client" / "node_modules" / "ws" / "package.json"
        found = [line for line in package.read_text().splitlines() if '"version"' in line]
        return version_of("node", "--version") + ", ws " + found[0].split('"')[3]


class SocketIo(ControlledServer):
    name = "Socket.IO with Redis"
    greetings = 2  # its "open" and "connect" packets
    PACKAGES: Final = ("socket.io@4", "@socket.io/redis-adapter@8", "redis@5")

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        folder = installed_npm("socketio", cls.PACKAGES)
        program = str(copy_programs("socketio_server.mjs", folder))
        async with fresh_world() as world:
            self = cls()
            url = world.servers.valkey.url
            process = start("node", program, str(self.port), "serve", url)
            publisher = start("node", program, str(self.control_port), "publish", url, core=1)
            try:
                await until_listening(process, self.port)
                await until_listening(publisher, self.control_port)
                self.pid = process.pid
                _, self._writer = await asyncio.open_connection("127.0.0.1", self.control_port)
                yield self
            finally:
                process.kill()
                publisher.kill()

    def version(self) -> str:
        return version_of("node", "--version") + ", " + ", ".join(self.PACKAGES)

    def request(self, channel: int, client: int) -> bytes:
        return upgrade(self.port, f"/socket.io/?EIO=4&transport=websocket&channel={channel}")

    def hello(self, channel: int, client: int) -> bytes:
        return masked_text("40")


def copy_programs(name: str, folder: Path) -> Path:
    """Copy a server for Node to a folder, because Node looks for packages beside it."""
    for file in (name, "control.mjs"):
        shutil.copy(HERE / file, folder)
    return folder / name


def installed_npm(name: str, packages: Sequence[str]) -> Path:
    """Install packages below ``.dev/peers`` if they are not. Raises ``Unavailable``."""
    folder = ROOT / ".dev" / "peers" / name
    if shutil.which("npm") is None:
        raise Unavailable("Node is not installed")
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", *packages],
            cwd=folder,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable("npm could not install " + " ".join(packages))
        (folder / "installed").touch()
    return folder


class Aiohttp(ControlledServer):
    name = "aiohttp send_str"

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        self = cls()
        program = str(HERE / "aiohttp_server.py")
        process = await self.start(
            sys.executable, program, str(self.port), str(self.control_port)
        )
        try:
            yield self
        finally:
            process.kill()

    def version(self) -> str:
        return f"aiohttp {version('aiohttp')}, uvloop {version('uvloop')}"


class Neverstale(Server):
    """The whole pipeline: ``neverstale.notify`` in PostgreSQL, a listener, Redis, a gateway.

    Each client is a user of its own, with a token, and a member of its project.
    """

    name = "Neverstale"
    greetings = 1

    def __init__(self, world: World, gateway: Part) -> None:
        super().__init__()
        assert gateway.process is not None
        self.port, self.pid = gateway.port, gateway.process.pid
        self._world = world
        self._gateway = gateway
        self._projects: list[str] = []
        self._tokens: list[str] = []

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Server]:
        async with fresh_world() as world:
            await world.listener()
            self = cls(world, await unlimited_gateway(world))
            os.sched_setaffinity(self.pid, {SERVER_CORE})
            yield self

    def version(self) -> str:
        return version_of("git", "-C", str(ROOT), "describe", "--always", "--dirty")

    async def prepare(self, channels: int, clients: int, subscribers: int) -> None:
        self._projects = await make_projects(self._world, channels)
        users = [f"{n:08x}-0000-4000-8000-00000000be4c" for n in range(clients)]
        await self._world.database.execute(
            "insert into users (id, name) select unnest($1::uuid[]), '' on conflict do nothing",
            users,
        )
        await self._world.database.execute(
            "insert into project_members (project_id, user_id)"
            " select * from unnest($1::uuid[], $2::uuid[]) on conflict do nothing",
            [self._projects[n % channels] for n in range(clients)]
            + [self._projects[0]] * subscribers,
            users + users[:subscribers],
        )
        self._tokens = [token(user) for user in users]

    async def settle(self) -> None:
        def is_answer(frame: dict[str, Any]) -> bool:
            return frame["type"] == "reconnect" or "last" in frame.get("data", {}).values()

        project_id, ada = self._projects[0], self._world.ada
        async with self._world.client(self._gateway, project_id, ada) as client:
            type_of_last = "reconnect"
            while type_of_last == "reconnect":  # a reset may stand for the event
                await notify(self._world, "last", project_id=project_id)
                frames = await client.until(is_answer)
                type_of_last = frames[-1]["type"]
        await asyncio.sleep(SETTLE_SECONDS)

    def request(self, channel: int, client: int) -> bytes:
        # a page that was just loaded resumes by its age
        path = f"{WS_PATH}?project_id={self._projects[channel]}&age=1000"
        protocols = f"neverstale.v1, bearer.{self._tokens[client]}"
        return upgrade(self.port, path, f"Sec-WebSocket-Protocol: {protocols}")

    async def publish(self, channel: int, messages: Sequence[int]) -> None:
        await self._world.database.execute(
            "select neverstale.notify('task', 'UPDATE', $1, id) from unnest($2::text[]) id",
            self._projects[channel],
            [str(number) for number in messages],
        )
