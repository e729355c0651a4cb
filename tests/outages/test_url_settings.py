"""What processes and commands make of their URLs: alike, at the start, and without a secret."""

from pathlib import Path

import pytest

from shared.config.settings import InvalidSettings, Settings, load_settings
from tests.support.changes import assert_flows
from tests.support.tls import Authority, terminating_tls
from tests.support.world import World

PROGRAMS = ("gateway", "listener")


async def test_a_url_that_cannot_be_used_is_refused_by_all_alike(world: World) -> None:
    refused = {
        "DATABASE_URL": "postgresql://u:pass/hidden@h/db",
        "REDIS_URL": "rediss://:hidden@h?ssl_ca_certs=/nowhere/ca.crt",
    }
    for program in PROGRAMS:
        code, output, errors = await world.command(program, **refused)
        assert (code, output) == (2, "")
        first, second = errors.splitlines()
        assert "DATABASE_URL is not a URL: percent-encode" in first
        told = (
            "REDIS_URL has an ssl_ca_certs that cannot be read: /nowhere/ca.crt: No such file"
        )
        assert told in second
        assert "hidden" not in errors
    code, output, errors = await world.command("neverstale", "check", **refused)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)  # it does not use Redis
    assert "DATABASE_URL is not a URL: percent-encode" in errors
    assert "hidden" not in errors


def test_files_of_tls_that_cannot_be_used_are_told_at_the_start(tmp_path: Path) -> None:
    authority, others = Authority(tmp_path, "ca"), Authority(tmp_path, "others")
    certificate, key = authority.issue("client", password="secret")
    _, other_key = others.issue("other")
    (tmp_path / "empty").touch()

    def settings(database: str = "", redis: str = "") -> Settings:
        environment = {
            "DATABASE_URL": f"postgresql://h/db?{database}",
            "REDIS_URL": f"rediss://h?{redis}",
        }
        return load_settings(Settings, environment)

    good = f"{certificate}&sslkey={key}&sslpassword=secret"
    settings(f"sslmode=verify-full&sslrootcert={authority.certificate}&sslcert={good}")
    for database, redis, told in (
        (f"sslcert={certificate}&sslkey={key}", "", "sslcert, sslkey that TLS cannot use"),
        (
            f"sslcert={certificate}&sslkey={other_key}",
            "",
            "sslcert, sslkey that TLS cannot use",
        ),
        (
            f"sslmode=verify-ca&sslrootcert={tmp_path}/empty",
            "",
            "sslrootcert that TLS cannot use",
        ),
        (f"sslmode=verify-ca&sslrootcert={tmp_path}/no", "", "sslrootcert that cannot be read"),
        ("", f"ssl_ca_certs={tmp_path}/empty", "ssl_ca_certs that TLS cannot use"),
        (
            "",
            f"ssl_certfile={certificate}&ssl_keyfile={other_key}",
            "ssl_keyfile that TLS cannot use",
        ),
        ("", "ssl_ciphers=odd", "parameters that TLS cannot use"),
    ):
        with pytest.raises(InvalidSettings) as refused:
            settings(database, redis)
        [problem] = refused.value.problems
        assert told in problem
        assert "secret" not in problem


async def test_a_stack_runs_on_the_urls_of_others(world: World, tmp_path: Path) -> None:
    """Prisma's schema, an ORM's scheme and pool, TLS to PostgreSQL and both ways to Redis."""
    await world.database.execute("create schema app")
    for table in ("projects", "project_members", "sprints", "tasks", "messages"):
        await world.database.execute(f"alter table {table} set schema app")
    authority = Authority(tmp_path, "ca")
    certificate, key = authority.issue("client")
    ca = authority.certificate
    valkey, postgres = world.servers.valkey.port, world.servers.postgres.port
    name = world.database_url.rpartition("/")[2]
    async with (
        terminating_tls(authority, postgres, is_postgres=True) as postgres_port,
        terminating_tls(authority, valkey, wants_client=True) as redis_port,
    ):
        world.more |= {
            "DATABASE_URL": f"postgresql+asyncpg://postgres:password@localhost:{postgres_port}"
            f"/{name}?schema=app&sslmode=verify-full&sslrootcert={ca}&connection_limit=5",
            "REDIS_URL": f"rediss://localhost:{redis_port}/2?ssl_ca_certs={ca}"
            f"&ssl_certfile={certificate}&ssl_keyfile={key}&socket_timeout=5",
        }
        code, _, errors = await world.command("listener", "install")
        assert code == 0, errors
        assert "connection_limit" in errors
        listener = await world.listener()
        gateway = await world.gateway()
        async with world.client(gateway, world.apollo, world.ada) as client:
            await world.database.execute("set search_path = app")
            await assert_flows(world, client)
        for part in (listener, gateway):
            assert part.logged("parameters of a URL have no effect here", setting="REDIS_URL")
            assert "password" not in "".join(part.raw_lines)
            assert await part.end() == 0
