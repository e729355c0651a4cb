"""The ports of a development stack, and whether they are free."""

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.dev.state import StackFailed


@dataclass(frozen=True)
class WantedPort:
    """A port, the part that listens on it, and the setting or option that changes it."""

    part: str
    port: int
    setting: str


def check_ports(wanted: Sequence[WantedPort]) -> None:
    """Raise ``StackFailed`` that names every port that is busy or given twice."""
    given = Counter(one.port for one in wanted)
    problems = [f"port {port} is given {n} times" for port, n in given.items() if n > 1]
    problems += [
        f"port {one.port} is busy, and {one.part} needs it: free it, or choose another with "
        f"{one.setting}"
        for one in wanted
        if not _is_free(one.port)
    ]
    if problems:
        raise StackFailed("\n".join(problems))


@dataclass(frozen=True)
class DemoPorts:
    """The ports of ``make dev``."""

    postgres: int
    redis: int
    gateways: tuple[int, int]
    listeners: tuple[int, int]
    demo: int

    def wanted(self, *, own_postgres: bool, own_redis: bool) -> list[WantedPort]:
        """Return the ports that must be free, given which servers the stack starts itself."""
        wanted = [
            *(WantedPort("a gateway", port, "DEV_GATEWAY_PORTS") for port in self.gateways),
            *(WantedPort("a listener", port, "DEV_LISTENER_PORTS") for port in self.listeners),
            WantedPort("the demo", self.demo, "DEV_DEMO_PORT"),
        ]
        if own_postgres:
            wanted.append(WantedPort("PostgreSQL", self.postgres, "DEV_POSTGRES_PORT"))
        if own_redis:
            wanted.append(WantedPort("Valkey", self.redis, "DEV_REDIS_PORT"))
        return wanted


def parse_ports(environment: Mapping[str, str]) -> DemoPorts:
    """Return the ports that the environment sets, or the defaults. Raises ``StackFailed``."""
    return DemoPorts(
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
