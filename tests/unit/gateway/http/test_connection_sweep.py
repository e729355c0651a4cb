"""The sweep looks at a connection when something is due for it, and at all tokens when the
keys have changed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry

from gateway.auth.token_rules import Identity
from gateway.http import connection_sweep
from gateway.http.connection_records import ConnectionRecords
from gateway.http.connection_sweep import ConnectionSweep
from gateway.http.open_connections import OpenConnections
from gateway.transport.connection import Connection
from tests.unit.gateway.transport.fake_socket import FakeTransport, connection

NOW: Final = 1_000_000.0
ME: Final = Identity("u", int(NOW) + 900, "key 1")


class Verifier:
    """Tokens are withdrawn with their key."""

    leeway_seconds = 5

    def __init__(self) -> None:
        self.time = NOW
        self.key = "key 1"
        self.key_changes = 1
        self.checks = 0

    def now(self) -> float:
        return self.time

    def seconds_left(self, identity: Identity) -> float:
        self.checks += 1
        return identity.expires_at - self.time

    def is_withdrawn(self, identity: Identity) -> bool:
        return identity.verified_by != self.key


class Swept:
    def __init__(
        self, client: Connection, transport: FakeTransport, verifier: Verifier
    ) -> None:
        self.client = client
        self.transport = transport
        self.verifier = verifier

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                await asyncio.sleep(0)

    async def sweeps(self) -> None:
        """Let the sweep run a few times."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_sweep, "SWEEP_SECONDS", 0)


@asynccontextmanager
async def swept(*, greeted: bool = True) -> AsyncIterator[Swept]:
    verifier, connections = (
        Verifier(),
        OpenConnections(ConnectionRecords(CollectorRegistry()), drain_seconds=0),
    )
    given: Any = verifier
    async with asyncio.TaskGroup() as tasks:
        transport = FakeTransport()
        client = connection(tasks, transport)
        client.identity = ME
        connections.add(client)
        if greeted:
            client.greet([], [])
        running = tasks.create_task(ConnectionSweep(given, connections).run())
        yield Swept(client, transport, verifier)
        running.cancel()


@pytest.mark.usefixtures("_often")
async def test_a_token_is_checked_only_when_that_is_due() -> None:
    async with swept() as it:
        await it.until(lambda: it.verifier.checks == 1)
        for seconds, checks in ((839, 1), (840, 2), (904, 2)):
            it.verifier.time = NOW + seconds
            await it.sweeps()
            assert it.verifier.checks == checks, seconds
            assert (b"token_expiring" in it.transport.told) == (seconds >= 840)
        it.verifier.time = NOW + 905
        await it.until(lambda: b"token_expired" in it.transport.told)


@pytest.mark.usefixtures("_often")
async def test_all_tokens_are_checked_when_the_keys_have_changed() -> None:
    async with swept() as it:
        await it.until(lambda: it.verifier.checks == 1)
        it.verifier.key_changes += 1
        await it.until(lambda: it.verifier.checks == 2)
        assert b"withdrawn" not in it.transport.told
        it.verifier.key, it.verifier.key_changes = "key 2", 3
        await it.until(lambda: b"withdrawn" in it.transport.told)


@pytest.mark.usefixtures("_often")
async def test_a_key_that_is_withdrawn_before_the_greeting_ends_the_connection_after_it() -> (
    None
):
    async with swept(greeted=False) as it:
        it.verifier.key, it.verifier.key_changes = "key 2", 2
        await it.sweeps()
        assert it.transport.told == b""
        it.client.greet([], [])
        await it.until(lambda: b"withdrawn" in it.transport.told)


@pytest.mark.usefixtures("_often")
async def test_a_renewed_token_is_checked() -> None:
    async with swept() as it:
        await it.until(lambda: it.verifier.checks == 1)
        it.client.renew(replace(ME, verified_by="an older key"))
        await it.until(lambda: b"withdrawn" in it.transport.told)


@pytest.mark.usefixtures("_often")
async def test_a_client_that_cannot_be_greeted_is_refused() -> None:
    async with swept(greeted=False) as it:
        await it.sweeps()
        assert it.transport.told == b""
        it.client.due_at = 0
        await it.until(lambda: b'"unavailable"' in it.transport.told)


@pytest.mark.usefixtures("_often")
async def test_a_silent_client_is_pinged_and_cut_off() -> None:
    async with swept() as it:
        it.client.due_at = 0
        await it.until(lambda: it.transport.told.endswith(b"\x89\x00"))
        it.client.due_at = 0
        await it.until(lambda: it.transport.is_cut)
