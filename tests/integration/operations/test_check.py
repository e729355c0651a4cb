"""``neverstale check``: each misconfiguration of real servers is a finding."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from deploy.dev.servers import ValkeyServer, free_port
from listener.setup.install import Config
from operations.check import gateway_facts
from operations.check.examination import Examination, Targets
from operations.check.report import Report
from operations.check.tokens import TokenSettings
from operations.settings import CheckSettings
from shared.config.config_file import read_config
from shared.config.settings import load_settings
from shared.protocol.channels import RedisNames
from tests.support.documented import PASSWORD, documented_rights
from tests.support.http_proxy import proxying
from tests.support.nginx import running_nginx
from tests.support.pooler import running_pooler
from tests.support.processes import ROOT, SECRET, token
from tests.support.roles import Roles
from tests.support.servers import Servers
from tests.support.tls import Authority, terminating_tls
from tests.support.world import World, make_world

NO_PROJECT = "00000000-0000-4000-8000-000000000000"
ADMIN_KEY = "a key for tests that is long enough"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_world(servers: Servers) -> AsyncIterator[World]:
    async with make_world(servers) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared_world: World) -> AsyncIterator[World]:
    """The module's world, without what a test has started in it and left in Redis."""
    yield shared_world
    while shared_world.parts:
        await shared_world.parts.pop().end()
    async with shared_world.redis() as redis:
        if keys := await redis.keys(f"*{shared_world.prefix}*"):
            await redis.delete(*keys)


def fresh_token(world: World, **claims: Any) -> str:
    return token(world.ada, **{"exp": int(time.time()) + 600, **claims})


NOTHING_MORE = Targets()


async def report(world: World, targets: Targets = NOTHING_MORE, **more: str) -> Report:
    """Check as the command does, in this process."""
    environment = world.environment(**more)
    settings = load_settings(CheckSettings, environment)
    config = Config.parse(read_config(settings.neverstale_config), log_max_bytes=2**30)
    tokens = TokenSettings(environment) if TokenSettings.are_in(environment) else None
    made = await Examination(settings, config, tokens, targets).run()
    assert all(one.what and one.todo for one in made.findings)
    assert SECRET not in json.dumps(made.as_json())
    return made


async def found(world: World, targets: Targets = NOTHING_MORE, **more: str) -> set[str]:
    return {one.id for one in (await report(world, targets, **more)).findings}


async def test_a_whole_set_up_is_checked_and_fine(world: World) -> None:
    await world.listener()
    gateway = await world.gateway(ADMIN_KEY=ADMIN_KEY)
    bearer = fresh_token(world)
    code, output, errors = await world.command(
        *("neverstale", "check", "--json", "--gateway", gateway.url, "--token", bearer),
        *("--project", world.apollo, "--probe"),
        ADMIN_KEY=ADMIN_KEY,
    )
    assert (code, errors) == (0, "")
    assert bearer not in output
    made = json.loads(output)
    assert (made["ok"], made["findings"], made["skipped"]) == (True, [], {})
    checked = made["checked"]
    assert checked["token"]["user"] == world.ada
    assert checked["gateways"][0]["status"] == "ready"
    probe = checked["probe"]
    assert probe["committed_ms"] > 0
    assert probe["published_ms"] > 0
    assert probe["received_ms"][gateway.url] > 0
    assert probe["greeted_ms"][gateway.url] > 0


async def test_the_report_as_text_has_a_line_for_each_part(world: World) -> None:
    code, output, errors = await world.command("neverstale", "check", JWT_SECRET="")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0].startswith("postgresql: version ")
    assert lines[1].startswith("redis: version valkey ")
    assert lines[2].startswith("not checked: gateways (no --gateway)")
    code, output, errors = await world.command(
        "neverstale", "check", REDIS_URL=f"redis://127.0.0.1:{free_port()}"
    )
    assert code == 1
    assert errors.startswith("neverstale: Redis does not answer: ")
    code, output, errors = await world.command(
        "neverstale", "check", "--json", DATABASE_URL=f"{world.database_url}x"
    )
    assert (code, errors, json.loads(output)["ok"]) == (1, "", False)


async def test_options_that_do_not_fit_are_wrong_usage(world: World) -> None:
    nothing = {"DATABASE_URL": "", "REDIS_URL": "", "JWT_SECRET": ""}
    for words, more, said in (
        ((), nothing, "nothing to check"),
        (("--probe",), {}, "--probe needs"),
        (("--token", "x"), {"JWT_SECRET": ""}, "--token needs a key"),
        (("--gateway", "localhost:1"), {}, "http://"),
        (("--project", "no uuid"), {}, "--project must be a UUID"),
        ((), {"NEVERSTALE_CONFIG": "nowhere.toml"}, "nowhere.toml"),
        ((), {"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
    ):
        code, _, errors = await world.command("neverstale", "check", *words, **more)
        assert (code, said in errors) == (2, True), errors


async def test_a_database_that_cannot_be_used_is_a_finding(world: World, roles: Roles) -> None:
    elsewhere = world.database_url.replace(f":{world.servers.postgres.port}", ":1")
    assert await found(world, DATABASE_URL=elsewhere) == {"postgresql.unreachable"}
    assert await found(world, DATABASE_URL=f"{world.database_url}x") == {
        "postgresql.not_admitted"
    }
    nobody = await roles.make("nobody")
    assert await found(world, DATABASE_URL=roles.url(nobody)) == {"postgresql.refused"}
    ignored = f"{world.database_url}?connect_timeout=3"
    assert await found(world, DATABASE_URL=ignored) == {"postgresql.ignored_parameters"}


async def test_a_pooler_in_transaction_mode_is_a_finding(world: World, tmp_path: Path) -> None:
    for url in running_pooler_urls(world, tmp_path):
        assert await found(world, DATABASE_URL=f"{url}/session") == set()
        assert await found(world, DATABASE_URL=f"{url}/transaction") == {"postgresql.pooled"}


def running_pooler_urls(world: World, folder: Path) -> Any:
    with running_pooler(world, folder) as url:
        yield url


async def test_queries_that_do_not_fit_the_schema_are_findings(
    world: World, tmp_path: Path
) -> None:
    config = tmp_path / "invalidation.toml"
    wrong = "select project_id, user_id from nowhere"
    queries = f'[access]\nquery = "{wrong}"\nmembers = "{wrong}"\n'
    config.write_text((ROOT / "invalidation.toml").read_text().replace("[access]\n", queries))
    assert await found(world, NEVERSTALE_CONFIG=str(config)) == {
        "postgresql.access_query",
        "postgresql.members_query",
    }


async def test_a_capture_that_differs_is_a_finding(world: World) -> None:
    await world.command("listener", "disable")
    assert {"postgresql.disabled", "postgresql.missing_trigger"} <= await found(world)
    await world.command("listener", "uninstall")
    assert await found(world) == {"postgresql.not_installed"}
    assert await world.install() == 0
    assert await found(world) == set()


@asynccontextmanager
async def configured(world: World, **settings: str) -> AsyncIterator[None]:
    """Change settings of the shared Redis server, and set them back."""
    async with world.redis() as redis:
        wanted = {name.replace("_", "-"): value for name, value in settings.items()}
        before = await redis.config_get(*wanted)
        try:
            for name, value in wanted.items():
                await redis.config_set(name, value)
            yield
        finally:
            for name in wanted:
                await redis.config_set(name, before[name] or "")


async def test_settings_of_redis_are_findings(world: World) -> None:
    async with configured(world, maxmemory="1gb", maxmemory_policy="allkeys-lru"):
        assert await found(world) == {"redis.eviction"}
    async with configured(world, client_output_buffer_limit="pubsub 1mb 1mb 10"):
        assert await found(world) == {"redis.output_buffer"}
    async with configured(world, maxmemory="1", maxmemory_policy="noeviction"):
        assert await found(world) == {"redis.full"}


async def test_missing_rights_in_redis_are_a_finding(world: World) -> None:
    rights = documented_rights()
    name = f"check_{world.prefix.strip(':')}"
    url = world.servers.valkey.url.replace("://", f"://{name}:{PASSWORD}@")
    async with world.redis() as redis:
        try:
            await redis.execute_command("ACL", "SETUSER", name, "on", f">{PASSWORD}", *rights)  # type: ignore[no-untyped-call]
            assert await found(world, REDIS_URL=url) == set(), "as documented"
            for lacking in ("+zadd", "+subscribe", "+info", "+hgetall", "+time", "+ping"):
                left = [word for word in rights if word != lacking]
                await redis.execute_command(
                    "ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *left
                )  # type: ignore[no-untyped-call]
                [finding] = (await report(world, REDIS_URL=url)).findings
                assert finding.id == "redis.rights", lacking
                assert f"use {lacking[1:]} on" in finding.what
        finally:
            await redis.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]


async def test_a_check_leaves_nothing_in_redis(world: World) -> None:
    await found(world)
    async with world.redis() as redis:
        assert await redis.keys(f"*{world.prefix}*") == []


async def test_a_replica_and_a_wrong_address_are_findings(world: World, tmp_path: Path) -> None:
    server = ValkeyServer(tmp_path / "valkey")
    await asyncio.to_thread(server.start)
    try:
        async with world.redis() as primary:
            assert await primary.ping()
        await command(server.url, "REPLICAOF", "127.0.0.1", str(world.servers.valkey.port))
        assert "redis.replica" in await found(world, REDIS_URL=server.url)
    finally:
        server.kill()
    assert await found(world, REDIS_URL=server.url) == {"redis.unreachable"}


async def command(url: str, *words: str) -> None:
    async with Redis.from_url(url) as client:
        await client.execute_command(*words)  # type: ignore[no-untyped-call]


async def test_a_prefix_of_another_database_is_a_finding(world: World) -> None:
    key = RedisNames(world.prefix).state
    async with world.redis() as redis:
        await redis.hset(key, mapping={"database": "another", "alive": "x.1"})
        assert await found(world) == {"redis.former_database"}

        async def lead() -> None:
            for number in range(10**6):
                await redis.hset(key, "alive", f"x.{number}")
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(lead())
            told = await found(world)
            leading.cancel()
        assert told == {"redis.prefix_taken"}


async def test_each_refusal_of_a_token_is_explained(world: World) -> None:
    alone = {"DATABASE_URL": "", "REDIS_URL": ""}
    good = fresh_token(world)
    for bearer, more, expected in (
        (good, {}, set()),
        (token(world.ada), {}, {"token.long_lived"}),
        ("abc", {}, {"token.malformed"}),
        (good, {"JWT_SECRET": "another secret that is long enough"}, {"token.signature"}),
        (good, {"JWT_ALGORITHMS": "HS512"}, {"token.unknown_key"}),
        (good, {"JWT_ISSUER": "https://issuer.test"}, {"token.claims"}),
        (fresh_token(world, exp=1000), {}, {"token.expired"}),
        (
            good,
            {"JWT_SECRET": "", "JWT_JWKS_URL": f"http://127.0.0.1:{free_port()}/"},
            {"token.keys"},
        ),
    ):
        told = await found(world, Targets(token=bearer), **{**alone, **more})
        assert told == expected, (bearer, more)


async def test_a_gateway_behind_a_bad_proxy_is_a_finding(world: World, tmp_path: Path) -> None:
    await world.listener()
    gateway = await world.gateway(ADMIN_KEY=ADMIN_KEY, TRUSTED_PROXIES="127.0.0.0/8")
    key = {"ADMIN_KEY": ADMIN_KEY, "DATABASE_URL": "", "REDIS_URL": ""}
    targets = Targets([gateway.url])
    assert await found(world, targets, **key) == {"gateway.trusts_this_host"}
    async with proxying(gateway.url, overwrites={"X-Forwarded-For": "198.51.100.7"}) as url:
        assert await found(world, Targets([url]), **key) == {"gateway.upgrade"}
    async with proxying(gateway.url, adds={"Access-Control-Allow-Origin": "*"}) as url:
        assert await found(world, Targets([url]), **key) == {
            "gateway.any_origin",
            "gateway.trusts_this_host",
            "gateway.upgrade",
        }
    async with proxying(gateway.url, adds={"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}) as url:
        told = await found(world, Targets([url]), DATABASE_URL="")
        assert told == {"clocks.differ", "gateway.upgrade"}
    other = {**key, "ADMIN_KEY": "another key that is long enough too"}
    targets = Targets([gateway.url], ["https://app.test"])
    assert await found(world, targets, **other) == {"gateway.admin_key", "gateway.origin"}
    targets = Targets([gateway.url], token=fresh_token(world), project=NO_PROJECT)
    assert await found(world, targets, **key) == {
        "gateway.trusts_this_host",
        "gateway.token_refused",
    }
    targets = Targets([f"http://127.0.0.1:{free_port()}"])
    assert await found(world, targets, **key) == {"gateway.unreachable"}


UPGRADES = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    "proxy_set_header Connection $http_connection; proxy_set_header Host $http_host;"
)
BUFFERS = "proxy_ignore_headers X-Accel-Buffering;"
COMPRESSES = "gzip on; gzip_proxied any; gzip_types text/event-stream; gzip_min_length 1;"
NO_STREAMS = "if ($request_uri ~ /sse) { return 403; }"
SHORT_HEADERS = "client_header_buffer_size 512; large_client_header_buffers 2 512;"
NO_TOKEN = 'proxy_set_header Authorization "";'


async def test_a_connection_that_nginx_spoils_is_a_finding(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.listener()
    gateway = await world.gateway()
    alone = {"DATABASE_URL": "", "REDIS_URL": ""}
    more = ("", COMPRESSES, BUFFERS, BUFFERS + COMPRESSES, NO_STREAMS, NO_TOKEN, SHORT_HEADERS)
    with running_nginx(tmp_path, gateway.url, *(UPGRADES + one for one in more)) as urls:

        async def told(url: str, **claims: str) -> set[str]:
            bearer = fresh_token(world, **claims)
            targets = Targets([url], token=bearer, project=world.apollo)
            return await found(world, targets, **alone)

        fine, compressing, buffering, both, refusing, stripping, limiting = urls
        assert [await told(url) for url in (fine, compressing)] == [set(), set()]
        assert await told(refusing) == {"gateway.sse"}
        assert await found(world, Targets([refusing]), **alone) == {"gateway.sse"}
        assert await told(stripping) == {"gateway.sse_token"}
        assert await told(limiting, long="x" * 400) == {"gateway.not_greeted"}
        # what is held back does not come later either
        monkeypatch.setattr(gateway_facts, "STREAM_SECONDS", 0.5)
        for url in (buffering, both):
            assert await told(url) == {"gateway.sse_buffered"}


async def test_an_event_stream_in_a_compressors_buffer_is_a_finding(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.listener()
    gateway = await world.gateway()
    alone = {"DATABASE_URL": "", "REDIS_URL": ""}
    monkeypatch.setattr(gateway_facts, "STREAM_SECONDS", 0.5)
    async with proxying(gateway.url, compresses=True) as url:
        targets = Targets([url], token=fresh_token(world), project=world.apollo)
        made = await report(world, targets, **alone)
    assert {one.id for one in made.findings} == {"gateway.upgrade", "gateway.sse_buffered"}
    assert any("(gzip)" in one.what for one in made.findings)


async def test_without_a_token_the_report_says_what_was_not_checked(world: World) -> None:
    await world.listener()
    gateway = await world.gateway()
    for bearer, left_out in (("", True), (fresh_token(world), False)):
        targets = Targets([gateway.url], token=bearer, project=world.apollo)
        made = await report(world, targets, DATABASE_URL="", REDIS_URL="")
        [checked] = made.checked["gateways"]
        assert (checked["not_checked"] is not None) == left_out
        assert (checked["event_stream_ms"] is None) == left_out


async def test_a_certificate_is_verified_as_browsers_do(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await world.gateway(ready=False)
    await gateway.ready(world.http, status=503)
    alone = {"DATABASE_URL": "", "REDIS_URL": ""}
    authority = Authority(tmp_path, "authority")
    async with terminating_tls(authority, gateway.port) as port:
        targets = Targets([f"https://localhost:{port}"])
        assert await found(world, targets, **alone) == {"gateway.certificate"}
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        assert await found(world, targets, **alone) == {
            "gateway.certificate_expires",
            "gateway.not_ready",
        }


@pytest.fixture
def roles(world: World) -> Roles:
    return Roles(world)
