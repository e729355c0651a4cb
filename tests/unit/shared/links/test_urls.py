"""What connection URLs mean, and that nothing of a password is told."""

import pytest

from shared.links.database_url import DatabaseUrl, parse_database_url
from shared.links.redis_url import RedisUrl, Sentinel, check_hosts, parse_redis_url
from shared.links.urls import InvalidUrl

HOST = "postgresql://h/db"
TLS = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "meaning"),
    {
        "libpq": ("postgresql://u:p@h:1/db", {"hosts": ("h",), "ports": (1,), "user": "u"}),
        "Heroku": ("postgres://u:p@h/db", {"password": "p", "database": "db", "ports": ()}),
        "asyncpg": ("postgresql+asyncpg://h/db", {"hosts": ("h",)}),
        "psycopg": ("postgresql+psycopg://h/db", {"hosts": ("h",)}),
        "GeoDjango": (" PostGIS://h/db\n", {"hosts": ("h",)}),
        "no host": ("postgresql:///app", {"hosts": (), "database": "app"}),
        "nothing at all": ("postgresql://", {"hosts": (), "database": "", "user": ""}),
        "an @ in the password": ("postgres://u:p@x@h/db", {"hosts": ("h",), "password": "p@x"}),
        "an encoded password": ("postgres://u:%2F%40%23@h/db", {"password": "/@#"}),
        "IPv6": ("postgres://[::1]:3,[fe80::1%25eth0]/", {"hosts": ("::1", "fe80::1%eth0")}),
        "several hosts": (
            "postgres://a:1,b/db",
            {
                "hosts": ("a", "b"),
                "ports": (1, 5432),
                "driver": {"target_session_attrs": "primary"},
            },
        ),
        "read-write": (
            "postgres://a,b/db?target_session_attrs=read-write",
            {"driver": {"target_session_attrs": "read-write"}, "ports": ()},
        ),
        "SQLAlchemy's hosts": (
            "postgresql+psycopg://u@/db?host=a:1&host=b:2",
            {"hosts": ("a", "b"), "ports": (1, 2)},
        ),
        "one port for all": ("postgres://a,b/db?port=7", {"ports": (7, 7)}),
        "a port alone": ("postgres:///db?port=7", {"hosts": (), "ports": (7,)}),
        "ports": ("postgres://a,b/db?port=7,8", {"ports": (7, 8)}),
        "a socket": ("postgres://%2Ftmp:7/db", {"hosts": ("/tmp",), "ports": (7,)}),
        "Prisma's socket": (
            "postgres://u@localhost:7/db?host=/cloudsql/a:b:c",
            {"hosts": ("/cloudsql/a:b:c",), "ports": (7,)},
        ),
        "all in parameters": (
            "postgresql://?host=h&port=1&user=u&password=p&dbname=d",
            {"hosts": ("h",), "user": "u", "password": "p", "database": "d"},
        ),
        "Neon": (
            f"{HOST}?sslmode=verify-full&channel_binding=require&sslrootcert=system",
            {"trusts_system": True, "driver": {"sslmode": "verify-full"}},
        ),
        "sslrootcert=system": (f"{HOST}?sslrootcert=system", {"trusts_system": True}),
        "a CA's file": (
            f"{HOST}?sslmode=verify-ca&sslrootcert=/ca",
            {"trusts_system": False, "driver": {"sslmode": "verify-ca", "sslrootcert": "/ca"}},
        ),
        "JDBC's TLS": (f"{HOST}?ssl=true", {"trusts_system": True}),
        "JDBC's TLS with a CA": (
            f"{HOST}?ssl=true&sslrootcert=/ca",
            {"driver": {"sslmode": "verify-full", "sslrootcert": "/ca"}},
        ),
        "asyncpg's TLS": (f"{HOST}?ssl=require", {"driver": {"sslmode": "require"}}),
        "both ways": (
            f"{HOST}?ssl=require&sslmode=verify-full&sslrootcert=/ca",
            {"driver": {"sslmode": "verify-full", "sslrootcert": "/ca"}},
        ),
        "no TLS": (f"{HOST}?ssl=false", {"driver": {"sslmode": "disable"}}),
        "node's TLS": (f"{HOST}?sslmode=no-verify", {"driver": {"sslmode": "require"}}),
        "Prisma's TLS": (f"{HOST}?sslmode=require&sslaccept=strict", {"trusts_system": True}),
        "Prisma's unverified": (
            f"{HOST}?sslmode=require&sslaccept=accept_invalid_certs",
            {"driver": {"sslmode": "require"}, "ignored": ()},
        ),
        "libpq's harmless": (
            f"{HOST}?gssencmode=prefer&channel_binding=prefer&sslcertmode=allow&sslkey=",
            {"driver": {}, "ignored": ()},
        ),
        "Prisma's schema": (f'{HOST}?schema=a"B', {"search_path": '"a""B"'}),
        "JDBC's schemas": (f"{HOST}?currentSchema=a,public", {"search_path": "a,public"}),
        "Rails' schemas": (f"{HOST}?schema_search_path=a", {"search_path": "a"}),
        "options": (f"{HOST}?options=-c%20jit%3Doff", {"options": "-c jit=off"}),
        "Prisma's pooler": (
            f"{HOST}?pgbouncer=true&connection_limit=1&pool_timeout=5",
            {"prepares": False, "ignored": ("connection_limit", "pool_timeout")},
        ),
        "Rails": (
            f"{HOST}?pool=5&prepared_statements=false&connect_timeout=2",
            {"prepares": False, "ignored": ("connect_timeout", "pool")},
        ),
        "a cache": (f"{HOST}?statement_cache_size=100", {"prepares": True, "ignored": ()}),
        "keepalives": (
            f"{HOST}?keepalives=1&keepalives_idle=30",
            {"ignored": ("keepalives", "keepalives_idle")},
        ),
    }.values(),
)
def test_a_database_url_is_understood(url: str, meaning: dict[str, object]) -> None:
    parsed = parse_database_url(url)
    assert isinstance(parsed, DatabaseUrl)
    for name, value in meaning.items():
        assert getattr(parsed, name) == value, name


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=secret", "unknown sslmode: it must be disable or allow"),
        ("sslmode=verify-full", "sslrootcert=system for a public CA"),
        ("sslmode=require&sslrootcert=system", "which requires sslmode=verify-full"),
        ("sslcert=/secret", "an sslcert without an sslkey"),
        ("sslnegotiation=direct", "requires sslmode=require or stricter"),
        ("ssl=secret", "unknown ssl: it must be true, false or an sslmode"),
        ("sslmode=require&channel_binding=require", "channel_binding=require, which is not"),
        ("gssencmode=require", "unknown gssencmode"),
        ("target_session_attrs=standby", "must be any or primary or read-write"),
        ("port=secret", "a port that is not a number"),
        ("port=0", "a port that is not a number"),
        ("port=1,2", "1 hosts and 2 ports"),
        ("host=a,,b", "percent-encode"),
        ("jit=off", "the parameter jit, which is not supported: remove it, or write options"),
        ("requirepeer=x", "the parameter requirepeer, which is not supported"),
        ("password=a&secret=b", "a parameter that is not supported"),
        ("b%C3%A4%20secret=b", "a parameter that is not supported"),
        ("password=a&secret", "a parameter without a value"),
        ("user=a&user=secret", "a parameter twice"),
        ("user=%ff", "percent-encode"),
        ("user=secret@x", "percent-encode"),
    ],
)
def test_a_database_url_is_refused_without_its_values(query: str, told: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parse_database_url(f"{HOST}?{query}")
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:secret#@h/db",
        "postgres://u:secret?@h/db",
        "postgres://u:secret/@h/db",
        "postgres://u:p@[secret]/db",
        "postgres://u:p@h:secret/db",
        "postgres://u:p@h:70000/db",
        "postgres://u:p@h/db#secret",
        "jdbc:postgresql://h/secret",
        "prisma+postgres://h/?api_key=secret",
        "secret",
    ],
)
def test_what_is_no_database_url_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parse_database_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "meaning"),
    {
        "usual": ("redis://h", {"host": "h", "port": 6379, "database": 0, "login": ()}),
        "nothing at all": ("redis://", {"host": "localhost", "tls": None}),
        "IPv6": ("valkey://[::1]:7/0", {"host": "::1", "port": 7}),
        "a password": ("redis://:p%2F@h/2", {"login": ("p/",), "database": 2}),
        "a user": ("redis://u:p@h", {"login": ("u", "p")}),
        "a user without a password": ("redis://u@h", {"login": ("u", "")}),
        "in parameters": (
            "redis://h/1?db=3&username=u&password=p",
            {"login": ("u", "p"), "database": 3},
        ),
        "a socket": ("unix:///run/r.sock?db=1", {"socket": "/run/r.sock", "database": 1}),
        "a socket's user": ("unix://u:p@/r", {"socket": "/r", "login": ("u", "p")}),
        "TLS": ("rediss://h", {"tls": TLS}),
        "TLS, otherwise": ("redis+tls://h", {"tls": TLS}),
        "Celery": (
            "rediss://h?ssl_cert_reqs=CERT_NONE",
            {"tls": {**TLS, "ssl_cert_reqs": "none"}},
        ),
        "all of TLS": (
            "rediss://h?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k"
            "&ssl_check_hostname=False&ssl_min_version=772",
            {
                "tls": {
                    "ssl_cert_reqs": "required",
                    "ssl_check_hostname": False,
                    "ssl_ca_certs": "/ca",
                    "ssl_certfile": "/c",
                    "ssl_keyfile": "/k",
                    "ssl_min_version": 772,
                }
            },
        ),
        "sentinels": (
            "redis+sentinel://u:p@a,b:5/main/2?sentinel_username=s&sentinel_password=q",
            {
                "hosts": (("a", 26379), ("b", 5)),
                "sentinel": Sentinel("main", "s", "q"),
                "database": 2,
                "user": "u",
                "password": "p",
                "tls": None,
            },
        ),
        "sentinels behind TLS": (
            "rediss+sentinel://a/main",
            {
                "sentinel": Sentinel("main", "", ""),
                "tls": {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
            },
        ),
        "nodes of a cluster": (
            "redis://a,b:7000",
            {"hosts": (("a", 6379), ("b", 7000)), "sentinel": None},
        ),
        "a client's": (
            "redis://h?protocol=3&socket_timeout=5&health_check_interval=30",
            {"ignored": ("health_check_interval", "protocol", "socket_timeout")},
        ),
    }.values(),
)
def test_a_redis_url_is_understood(url: str, meaning: dict[str, object]) -> None:
    parsed = parse_redis_url(url)
    assert isinstance(parsed, RedisUrl)
    for name, value in meaning.items():
        assert getattr(parsed, name) == value, name


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://secret", "must start with redis:// or rediss:// or unix://"),
        ("secret", "must start with redis://"),
        ("redis+sentinel://secret", "must name its primary behind the sentinels"),
        ("redis+sentinel://h/name/secret", "its database by a number"),
        ("redis+sentinel://h/name?ssl_ca_certs=/secret", "require rediss://"),
        ("redis://h?sentinel_password=secret", "the parameter sentinel_password, which"),
        ("redis://h/secret", "its database by a number"),
        ("redis://h?db=-1", "its database by a number"),
        ("unix://secret/r", "an absolute path"),
        ("unix://", "an absolute path"),
        ("redis://h?ssl_ca_certs=/secret", "require rediss://"),
        ("rediss://h?ssl_cert_reqs=secret", "must be none or optional or required"),
        ("rediss://h?ssl_check_hostname=secret", "unknown ssl_check_hostname"),
        ("rediss://h?ssl_min_version=secret", "must be 771 or 772"),
        ("rediss://h?ssl_keyfile=/secret", "without an ssl_certfile"),
        ("rediss://h?ssl_odd=secret", "the parameter ssl_odd, which is not supported"),
        ("redis://h?odd=secret", "the parameter odd, which is not supported: remove it"),
        ("redis://h?password=a&secret=b", "a parameter that is not supported"),
    ],
)
def test_a_redis_url_is_refused_without_its_values(url: str, told: str) -> None:
    with pytest.raises(InvalidUrl) as refused:
        parse_redis_url(url)
    assert told in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "is_cluster", "told"),
    [
        ("redis://h", False, None),
        ("redis+sentinel://a,b/main", False, None),
        ("redis://a,b", True, None),
        ("rediss://a", True, None),
        ("redis://a,b", False, "must be true if REDIS_URL names several hosts"),
        ("redis+sentinel://a/main", True, "without socket, sentinels and database"),
        ("unix:///r", True, "without socket, sentinels and database"),
        ("redis://a/1", True, "without socket, sentinels and database"),
    ],
)
def test_the_hosts_of_a_redis_url_fit_a_cluster_or_one_server(
    url: str, is_cluster: bool, told: str | None
) -> None:
    if told is None:
        check_hosts(url, is_cluster=is_cluster)
    else:
        with pytest.raises(InvalidUrl, match=told):
            check_hosts(url, is_cluster=is_cluster)


def test_an_address_replaces_the_hosts_and_the_sentinels() -> None:
    found = parse_redis_url("redis+sentinel://u:p@a,b/main/2").at("c", 7)
    assert (found.host, found.port, found.sentinel) == ("c", 7, None)
    assert (found.user, found.database) == ("u", 2)


def test_secrets_are_in_no_representation() -> None:
    url = "postgres://u:secret@h/db?sslpassword=secret&sslcert=c&sslkey=k"
    assert "secret" not in repr(parse_database_url(url))
    url = "rediss://u:secret@h?ssl_password=secret"
    assert "secret" not in repr(parse_redis_url(url))
