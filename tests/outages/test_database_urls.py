"""DATABASE_URL in all its forms on real servers, for the listener and the gateway."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.dev.servers import PostgresServer, find_postgres_programs, free_port
from gateway.access.database import open_pool
from listener.links.pg_link import PgLost, connect
from shared.runtime.lifecycle import FatalError
from tests.support.tls import Authority, terminating_tls

ENCODED = "p%C3%A4ssword%2F%40%3A%3F%23%25"
PROGRAMS = (
    Path(os.environ["POSTGRES_BIN"]) if "POSTGRES_BIN" in os.environ else None
) or find_postgres_programs()
HAS_TLS = "ssl" in subprocess.run(
    [PROGRAMS / "pg_config", "--configure"], capture_output=True, text=True, check=True
).stdout.replace("--without-openssl", "")
RULES = """
host all ada ::1/128 scram-sha-256
host all all 127.0.0.0/8 trust
"""


class ReachablePostgres(PostgresServer):
    """A server with all kinds of addresses."""

    def __init__(self, folder: Path, more: dict[str, str]) -> None:
        super().__init__(folder, programs=PROGRAMS)
        self._more = more

    def _prepare(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1,127.0.0.2,::1",
            "unix_socket_directories": "/tmp",
            **self._more,
        }
        return [*super()._prepare(), *(f"--{name}={text}" for name, text in settings.items())]


@dataclass
class Postgres:
    """A primary, its standby, and the authority of the primary's certificate."""

    primary: ReachablePostgres
    standby: ReachablePostgres
    authority: Authority
    folder: Path

    @asynccontextmanager
    async def with_tls(self, *, wants_client: bool = False) -> AsyncIterator[int]:
        """Yield a TLS port of the primary: its own if it was built with TLS."""
        if HAS_TLS and not wants_client:
            yield self.primary.port
            return
        async with terminating_tls(
            self.authority, self.primary.port, wants_client=wants_client, is_postgres=True
        ) as port:
            yield port


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="neverstale-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = Authority(folder, "ca")
        certificate, key = authority.issue("localhost")
        if os.geteuid() == 0:
            shutil.chown(key, "nobody")
        key.chmod(0o600)
        files = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        primary = ReachablePostgres(folder / "primary", files if HAS_TLS else {})
        primary.start()
        primary.stop()
        rules = folder / "primary" / "pg_hba.conf"
        rules.write_text(RULES + rules.read_text())
        standby = ReachablePostgres(folder / "standby", {})
        subprocess.run(["cp", "-a", primary.folder, standby.folder], check=True)
        (standby.folder / "standby.signal").touch()
        primary.start()
        standby.start()
        yield Postgres(primary, standby, authority, folder)
        primary.stop()
        standby.stop()


async def ask(url: str, question: str) -> set[Any]:
    """Return the answers of the listener's session and of the gateway's pool."""
    connection = await connect(url, "test")
    answers = {await connection.fetchval(question)}
    await connection.close()
    async with open_pool(url) as pool:
        answers.add(await pool.fetchval(question))
    return answers


async def assert_refused(url: str, reason: str, *, is_final: bool = False) -> None:
    with pytest.raises(FatalError if is_final else PgLost, match=reason) as by_listener:
        await connect(url, "test")
    with pytest.raises(
        (OSError, asyncpg.PostgresError, asyncpg.InternalClientError), match=reason
    ) as by_gateway:
        async with open_pool(url) as pool:
            await pool.fetchval("select 1")
    assert "pässword" not in f"{by_listener.value} {by_gateway.value}"


async def test_every_address_of_postgresql_is_reached(postgres: Postgres) -> None:
    session = await asyncpg.connect(postgres.primary.url)
    await session.execute("create role ada login password 'pässword/@:?#%'")
    await session.execute("create schema app")
    await session.close()
    port, standby, closed = postgres.primary.port, postgres.standby.port, free_port()
    at = f"127.0.0.1:{port}"
    where = "select coalesce(host(inet_server_addr()), 'a socket')"
    path = "select array_to_string(current_schemas(false), ' ')"
    primary = "select pg_is_in_recovery()"
    for url, question, answer in (
        (f"postgres://ada:{ENCODED}@[::1]:{port}/postgres", where, "::1"),
        (f"postgresql://postgres@/postgres?host=/tmp&port={port}", where, "a socket"),
        (f"postgresql://postgres@%2Ftmp:{port}/postgres", where, "a socket"),
        (f"postgresql://?dbname=postgres&user=postgres&host={at}", where, "127.0.0.1"),
        (f"postgresql+asyncpg://postgres@{at}/postgres?ssl=prefer", where, "127.0.0.1"),
        (
            f"postgresql+psycopg://postgres@{at}/postgres?connect_timeout=1&keepalives=1"
            "&gssencmode=prefer&channel_binding=prefer&application_name=x&pool=5",
            where,
            "127.0.0.1",
        ),
        (f"postgresql://postgres@{at}/postgres?options=-csearch_path%3Dapp", path, "app"),
        (
            f"postgresql://postgres@127.0.0.1:{closed},127.0.0.1:{standby},{at}/postgres",
            primary,
            False,
        ),
        (
            f"postgresql://postgres@127.0.0.1:{standby},{at}/postgres"
            "?target_session_attrs=read-write",
            primary,
            False,
        ),
    ):
        assert await ask(url, question) == {answer}, url
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]},{at}/postgres"
        assert await ask(url, primary) == {False}, "a frozen host does not hide the next one"
    prisma = await connect(f"postgresql://postgres@{at}/postgres?schema=app", "test")
    assert await prisma.fetchval("show search_path") == '"app"'
    await prisma.close()
    url = f"postgres://ada:{ENCODED}x@[::1]:{port}/postgres"
    await assert_refused(url, "password authentication failed", is_final=True)
    two_standbys = f"127.0.0.1:{standby},127.0.0.1:{standby}"
    await assert_refused(f"postgresql://postgres@{two_standbys}/postgres", "(?i)target")
    odd = f"postgresql://postgres@{at}/postgres?options=-cnowhere=1"
    await assert_refused(odd, "unrecognized configuration parameter", is_final=True)


async def test_tls_follows_the_url(postgres: Postgres) -> None:
    others = Authority(postgres.folder, "others")
    certificate, key = postgres.authority.issue("client", password="secret")
    ca = f"sslrootcert={postgres.authority.certificate}"
    mine = f"sslcert={certificate}&sslkey={key}&sslpassword=secret"
    is_tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    async with postgres.with_tls() as port:
        for place, query in (
            ("localhost", "sslmode=require"),
            ("localhost", "sslmode=no-verify"),
            ("localhost", "ssl=require"),
            ("localhost", f"sslmode=verify-full&{ca}"),
            ("localhost", f"sslmode=verify-full&{ca}&channel_binding=require"),
            ("localhost", f"sslmode=require&sslaccept=strict&{ca}"),
            ("localhost", f"ssl=true&{ca}"),
            ("127.0.0.1", f"sslmode=verify-ca&{ca}"),
        ):
            url = f"postgres://postgres@{place}:{port}/postgres?{query}"
            assert await ask(url, is_tls) == {HAS_TLS}, query
        for place, query in (
            ("127.0.0.1", f"sslmode=verify-full&{ca}"),
            ("localhost", f"sslmode=verify-full&sslrootcert={others.certificate}"),
            ("localhost", "sslmode=verify-full&sslrootcert=system"),
        ):
            url = f"postgres://postgres@{place}:{port}/postgres?{query}"
            await assert_refused(url, "certificate verify failed")
    plain = f"postgres://postgres@localhost:{postgres.standby.port}/postgres?sslmode=require"
    await assert_refused(plain, "rejected SSL upgrade")
    async with postgres.with_tls(wants_client=True) as port:
        url = f"postgres://postgres@localhost:{port}/postgres?sslmode=verify-full&{ca}"
        assert await ask(f"{url}&{mine}", "select 1") == {1}
        await assert_refused(url, "(?i)alert|closed|reset|lost")


async def test_each_connection_resolves_the_name_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve: Callable[..., Any] = socket.getaddrinfo
    address = "127.0.0.1"
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: resolve(
            address if host == "postgres.test" else host, *rest, **more
        ),
    )
    url = f"postgres://postgres@postgres.test:{postgres.primary.port}/postgres"
    where = "select host(inet_server_addr())"
    async with open_pool(url) as pool:
        assert await ask(url, where) == {await pool.fetchval(where)} == {"127.0.0.1"}
        address = "127.0.0.2"
        await pool.expire_connections()
        assert await ask(url, where) == {await pool.fetchval(where)} == {"127.0.0.2"}
