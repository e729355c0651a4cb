"""REDIS_URL in all its forms on a real server, for commands and the subscriber connection."""

import asyncio
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.dev.servers import ValkeyServer
from gateway.delivery.pubsub import PubSub
from shared.links.redis_link import RedisLost, connect, translated_errors
from shared.links.redis_url import parse_redis_url
from tests.support.processes import HANG_SECONDS, eventually
from tests.support.tls import Authority, terminating_tls

PASSWORD = "pässword/@:?#%"
ENCODED = "p%C3%A4ssword%2F%40%3A%3F%23%25"


class ReachableValkey(ValkeyServer):
    """A server with all kinds of addresses."""

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    def _prepare(self) -> list[str]:
        more = ["--bind", "127.0.0.1", "127.0.0.2", "::1", "--unixsocket", str(self.socket)]
        return [*super()._prepare(), *more]


@pytest.fixture(scope="module")
def valkey() -> Iterator[ReachableValkey]:
    with tempfile.TemporaryDirectory(prefix="neverstale-test-") as name:
        server = ReachableValkey(Path(name) / "valkey")
        server.start()
        yield server
        server.stop()


async def reach(url: str) -> int:
    """Return the database that commands use, once the subscriber has received a message."""
    told: list[tuple[bytes, bytes]] = []
    subscribed = asyncio.Event()

    def receive(messages: Sequence[tuple[bytes, bytes]]) -> None:
        told.extend(messages)

    client = connect(parse_redis_url(url))
    link: PubSub | None = None
    try:
        async with asyncio.timeout(HANG_SECONDS):
            link = await PubSub.connect(
                parse_redis_url(url), receive, lambda _: subscribed.set()
            )
            link.subscribe(["channel"])
            await subscribed.wait()
            async with translated_errors(client):
                await client.publish("channel", "told")
                database = int((await client.client_info())["db"])
        await eventually(lambda: told == [(b"channel", b"told")], "the message has come")
        return database
    finally:
        await client.aclose()
        if link is not None:
            link.abort()


async def assert_refused(url: str, reason: str) -> None:
    """Check that commands and the subscriber are refused, without the password in errors."""
    client = connect(parse_redis_url(url))
    with pytest.raises(RedisLost, match=reason) as by_commands:
        async with translated_errors(client):
            await client.ping()
    await client.aclose()
    with pytest.raises(RedisLost, match=reason) as by_subscriber:
        await PubSub.connect(parse_redis_url(url), lambda _: None, lambda _: None)
    assert PASSWORD not in f"{by_commands.value} {by_subscriber.value}"


async def test_every_address_of_redis_is_reached(valkey: ReachableValkey) -> None:
    client = connect(parse_redis_url(valkey.url))
    rights: dict[str, Any] = {"keys": ["*"], "channels": ["*"], "categories": ["+@all"]}
    await client.acl_setuser("ada", enabled=True, passwords=[f"+{PASSWORD}"], **rights)
    await client.acl_setuser("open", enabled=True, nopass=True, **rights)
    await client.aclose()
    at = f"localhost:{valkey.port}"
    unix = f"unix://{valkey.socket}"
    for url, database in {
        f"redis://{at}": 0,
        f"valkey://[::1]:{valkey.port}/3": 3,
        f"redis://{at}/3?db=5": 5,
        f"redis://ada:{ENCODED}@{at}/1": 1,
        f"redis://{at}?username=ada&password={ENCODED}": 0,
        f"redis://open@{at}": 0,
        f"redis://{at}?protocol=3&socket_timeout=1&health_check_interval=1": 0,
        unix: 0,
        f"{unix}?db=2": 2,
        f"unix://ada:{ENCODED}@{valkey.socket}": 0,
    }.items():
        assert await reach(url) == database, url
    await assert_refused(f"redis://ada:{ENCODED}x@{at}", "invalid username-password")
    await assert_refused(f"unix://{valkey.folder}/none", "No such file")


async def test_tls_follows_the_url(valkey: ReachableValkey, tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ca"), Authority(tmp_path, "others")
    certificate, key = ours.issue("client", password="secret")
    ca = f"ssl_ca_certs={ours.certificate}"
    mine = f"ssl_certfile={certificate}&ssl_keyfile={key}&ssl_password=secret"
    async with terminating_tls(ours, valkey.port) as port:
        for query in (
            f"localhost:{port}?{ca}",
            f"localhost:{port}/4?{ca}&ssl_min_version=772",
            f"localhost:{port}?ssl_cert_reqs=none",
            f"127.0.0.1:{port}?{ca}&ssl_check_hostname=false",
            f"[::1]:{port}?ssl_cert_reqs=CERT_NONE",
        ):
            assert await reach(f"rediss://{query}") in (0, 4), query
        for query in (
            f"localhost:{port}",
            f"localhost:{port}?ssl_ca_certs={others.certificate}",
            f"127.0.0.1:{port}?{ca}",
        ):
            await assert_refused(f"rediss://{query}", "certificate verify failed")
    async with terminating_tls(ours, valkey.port, wants_client=True) as port:
        assert await reach(f"rediss://localhost:{port}?{ca}&{mine}") == 0
        await assert_refused(f"rediss://localhost:{port}?{ca}", "(?i)alert|closed|reset|lost")


async def test_each_connection_resolves_the_name_again(
    valkey: ReachableValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve: Callable[..., Any] = socket.getaddrinfo
    addresses = ["127.0.0.1", "127.0.0.2"]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: resolve(
            addresses[0] if host == "redis.test" else host, *rest, **more
        ),
    )
    url = f"redis://redis.test:{valkey.port}"
    client = connect(parse_redis_url(url))
    ends: list[Any] = []
    for _ in range(2):
        link = await PubSub.connect(parse_redis_url(url), lambda _: None, lambda _: None)
        async with translated_errors(client):
            ends += [await client.client_info(), *await client.client_list()]
        link.abort()
        assert all(end["laddr"] == f"{addresses[0]}:{valkey.port}" for end in ends), ends
        await client.connection_pool.disconnect()
        addresses.pop(0)
        ends.clear()
        await no_clients(valkey)
    await client.aclose()


async def no_clients(valkey: ReachableValkey) -> None:
    observer = connect(parse_redis_url(f"unix://{valkey.socket}"))
    async with asyncio.timeout(HANG_SECONDS):
        while len(await observer.client_list()) > 1:
            await asyncio.sleep(0.01)
    await observer.aclose()
