"""Where everything listens, and whether it can."""

import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.dev.checkout import StackFailed


@dataclass(frozen=True)
class Ports:
    """Where everything listens."""

    postgres: int
    redis: int
    gateways: tuple[int, int]
    listeners: tuple[int, int]
    demo: int

    def check(self, *, own_postgres: bool, own_redis: bool) -> None:
        """Raise ``StackFailed`` with every port that is busy or given twice."""
        wanted = [
            *(("a gateway", port, "DEV_GATEWAY_PORTS") for port in self.gateways),
            *(("a listener", port, "DEV_LISTENER_PORTS") for port in self.listeners),
            ("the demo", self.demo, "DEV_DEMO_PORT"),
        ]
        if own_postgres:
            wanted.append(("PostgreSQL", self.postgres, "DEV_POSTGRES_PORT"))
        if own_redis:
            wanted.append(("Valkey", self.redis, "DEV_REDIS_PORT"))
        given = Counter(port for _, port, _ in wanted)
        # all that is taken is told at once, before anything is started
        problems = [f"port {port} is given {n} times" for port, n in given.items() if n > 1]
        problems += [
            f"port {port} is busy, and {part} needs it: free it, or choose another with {name}"
            for part, port, name in wanted
            if not _is_free(port)
        ]
        if problems:
            raise StackFailed("\n".join(problems))


def parse_ports(environment: Mapping[str, str]) -> Ports:
    """The defaults, or what the environment says. Raises ``StackFailed``."""
    return Ports(
        postgres=_parse(environment, "DEV_POSTGRES_PORT", "54329")[0],
        redis=_parse(environment, "DEV_REDIS_PORT", "6399")[0],
        gateways=_parse_pair(environment, "DEV_GATEWAY_PORTS", "8080,8090"),
        listeners=_parse_pair(environment, "DEV_LISTENER_PORTS", "8081,8091"),
        demo=_parse(environment, "DEV_DEMO_PORT", "8000")[0],
    )


def _parse_pair(environment: Mapping[str, str], name: str, default: str) -> tuple[int, int]:
    first, second = _parse(environment, name, default)
    return first, second


def _parse(environment: Mapping[str, str], name: str, default: str) -> list[int]:
    words = (environment.get(name) or default).split(",")
    count = default.count(",") + 1
    ports = [int(word) for word in words if word.strip().isdecimal()]
    if len(words) != count or len(ports) != count or not all(0 < n < 65536 for n in ports):
        what = "a port" if count == 1 else "two ports"
        raise StackFailed(f"{name} must be {what}, like {default}")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
