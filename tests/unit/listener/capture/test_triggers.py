import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.origins import parse_rule
from gateway.limits.client_address import parse_networks
from gateway.settings import GatewaySettings
from listener.capture.expressions import (
    Table,
    columns_in,
    expression_sql,
    plain_column,
    quote_identifier,
    quote_literal,
)
from listener.capture.logged_rows import CaptureLimits, Parent
from listener.capture.triggers import LOG_BYTES, TriggerName, plan_triggers
from listener.capture.watches import (
    MAX_RESOURCE_BYTES,
    Watch,
    parse_bulk_threshold,
    parse_watches,
    project_resources,
    resources_without_access,
)
from listener.settings import ListenerSettings
from shared.config.access_rules import ConfigError, parse_access
from shared.config.config_file import read_config
from shared.config.settings import InvalidSettings, describe_settings, load_settings
from shared.protocol.channels import MAX_ID_BYTES
from shared.runtime.backoff import Backoff

ROOT = Path(__file__).parents[4]
CAPTURE = CaptureLimits(50, 2**30)
WATCH: dict[str, Any] = {"table": "tasks", "resource": "task", "project": "project_id"}
TASKS = Table("public", "tasks", ("id", "project_id", "user_id", "Odd name", "Ämne"))


def test_the_shipped_config_is_valid() -> None:
    document = read_config(ROOT / "invalidation.toml")
    assert [watch.table for watch in parse_watches(document)] == [
        "projects",
        "sprints",
        "tasks",
        "project_members",
        "messages",
    ]
    rules = parse_access(document)
    assert (rules.project_type, rules.user_type) == ("uuid", "uuid")
    assert "asked.project_id::pg_catalog.uuid" in rules.query


@pytest.mark.parametrize(
    ("watches", "expected"),
    [
        ([("tasks", "task", "id", "project_id"), ("projects", "board", "id", "id")], {"board"}),
        ([("projects", "project", "id", "id"), ("s", "settings", "pid", "pid")], {"project"}),
        ([("a", "a", None, "id")], set()),
    ],
    ids=["its id is its project", "one row per project", "no id"],
)
def test_the_project_resource_is_the_one_whose_id_is_its_project(
    watches: list[tuple[str, str, str | None, str]], expected: set[str]
) -> None:
    found = [
        Watch(table, resource, id_, project, None) for table, resource, id_, project in watches
    ]
    assert project_resources(found) == expected


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "no table is watched"),
        ({"watch": []}, "no table is watched"),
        ({"watch": {"table": "x"}}, "no table is watched"),
        ({"watch": ["x"]}, "watch 1: must be a section"),
        (
            {"watch": [{**WATCH, "table": 7}]},
            'watch 1 table: must be text: write table = "..."',
        ),
        (
            {"watch": [{**WATCH, "id": " "}]},
            'watch 1 (tasks) id: must be text: write id = "..."',
        ),
        ({"watch": [{**WATCH, "projct": "x"}]}, "watch 1 (tasks) projct: unknown key"),
        ({"watch": [{"table": "x", "project": "p"}]}, "watch 1 (x) resource: is missing"),
        ({"watch": [{"table": "x", "resource": "r"}]}, "watch 1 (x) project: is missing"),
        ({"watch": [WATCH, WATCH]}, "watch (tasks) table: is watched twice"),
        ({"watch": [WATCH], "acess": {}}, "acess: unknown"),
        ({"watch": [{**WATCH, "ignore": "x"}]}, "watch 1 (tasks) ignore: must be a list"),
        ({"watch": [{**WATCH, "ignore": [7]}]}, "watch 1 (tasks) ignore: must be a list"),
        (
            {"watch": [{**WATCH, "resource": "ä" * 129}]},
            "watch 1 (tasks) resource: must have at most 256 bytes",
        ),
        ({"watch": [{**WATCH, "ignore": ["x"], "id": 7}]}, "watch 1 (tasks) id: must be text"),
        (
            {"watch": [{**WATCH, "access": "no"}]},
            "watch 1 (tasks) access: must be true or false: write access = false",
        ),
    ],
)
def test_a_mistake_in_a_watch_is_reported(document: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_watches(document)
    assert any(line.startswith(problem) or problem in line for line in refused.value.problems)


def test_a_resource_gives_access_if_one_of_its_watches_does() -> None:
    watches = parse_watches(
        {
            "watch": [
                {**WATCH, "access": False},
                {**WATCH, "table": "old_tasks", "access": False},
                {**WATCH, "table": "members", "resource": "member"},
                {**WATCH, "table": "guests", "resource": "member", "access": False},
            ]
        }
    )
    assert resources_without_access(watches) == {WATCH["resource"]}


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("x", "access: must be a section"),
        ({"project_typ": "uuid"}, "[access] project_typ: unknown key"),
        ({"user_type": "serial"}, '[access] user_type: must be "uuid", "bigint" or "text"'),
        ({"query": 7}, "[access] query: must be a string"),
        ({"members": ["x"]}, "[access] members: must be a string"),
    ],
)
def test_a_mistake_in_the_access_section_is_reported(section: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_access({"access": section})
    assert refused.value.problems[0].startswith(problem)


def test_the_access_query_can_be_replaced() -> None:
    rules = parse_access({"access": {"query": "select 1, 2", "project_type": "bigint"}})
    assert (rules.query, rules.project_type) == ("select 1, 2", "bigint")
    assert rules.members == "", "the default asks tables that there may not be"
    rules = parse_access({"access": {"members": " select 3 "}})
    assert (rules.members, "owner_id" in rules.query) == ("select 3", True)
    assert "::pg_catalog.int8[]" in parse_access({"access": {"project_type": "bigint"}}).members


@pytest.mark.parametrize("text", [None, "not [ toml", b"\xff"])
def test_a_config_that_cannot_be_read_is_reported(
    tmp_path: Path, text: str | bytes | None
) -> None:
    path = tmp_path / "invalidation.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"invalidation\.toml"):
        read_config(path)


@given(st.text(st.characters(exclude_characters="\0")))
def test_quoting_is_reversible(text: str) -> None:
    assert quote_identifier(text)[1:-1].replace('""', '"') == text
    literal = quote_literal(text)
    inside = literal[2:-1] if literal.startswith("E") else literal[1:-1]
    assert inside.replace("''", "'").replace("\\\\", "\\") == text
    assert ("\\" in text) == literal.startswith("E")


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("id", "id"),
        (" ID ", "id"),
        ('"Odd name"', "Odd name"),
        ("Odd", None),
        ('"ID"', None),
        ("id || id", None),
        ("missing", None),
    ],
)
def test_a_plain_column_is_recognized(text: str, column: str | None) -> None:
    assert plain_column(text, TASKS) == column
    value = f"{quote_identifier(column)}::text" if column else f"left(({text})::text, 513)"
    assert expression_sql(text, TASKS) == f'{value} collate "C"'


def test_a_table_with_a_name_like_sql_is_named_exactly() -> None:
    table = replace(TASKS, name='x as\n"p%s {owner}')
    watch = Watch("x", "x", id="id", project="project_id", user=None)
    for trigger in plan_triggers(watch, table, CAPTURE):
        assert trigger.source.startswith("\n#variable_conflict")
        assert f"after insert on {table.sql}" in trigger.sql or "insert" not in trigger.name
        name = TriggerName(trigger.table.sql, trigger.name)
        assert name.drop_statement == f'drop trigger "{trigger.name}" on {table.sql};'
        assert str(name) in name.drop_statement


def test_a_functions_source_is_quoted_whole() -> None:
    watch = Watch("tasks", "a $neverstale$ quote", id="id", project="project_id", user=None)
    for trigger in plan_triggers(watch, TASKS, CAPTURE):
        assert trigger.source.startswith("\n#variable_conflict")
        assert trigger.source.endswith("end\n")
        assert f"as\n$neverstale1${trigger.source}$neverstale1$;" in trigger.sql or (
            f"as\n$neverstale${trigger.source}$neverstale$;" in trigger.sql
        )


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("project_id || ':' || USER_ID", {"project_id", "user_id"}),
        ('lower("Odd name")', {"Odd name"}),
        ("(select p.x from public.p where p.y = changed.project_id)", {"project_id"}),
        ("to_jsonb(changed)", set(TASKS.columns)),
        ("(select changed.*)::text", set(TASKS.columns)),
        ("to_jsonb(tasks)", set(TASKS.columns)),
        ("1", set()),
        ("""'"' || project_id || '"'""", {"project_id"}),
        ("ÄMNE || user_id", {"Ämne", "user_id"}),
        ("Ämne", {"Ämne"}),
    ],
)
def test_columns_that_an_expression_may_mention_are_found(text: str, columns: set[str]) -> None:
    assert columns_in(text, TASKS) == columns


def sql_of(watch: Watch) -> dict[str, str]:
    return {trigger.name: trigger.sql for trigger in plan_triggers(watch, TASKS, CAPTURE)}


def test_a_row_with_a_null_project_is_logged_for_its_user_alone() -> None:
    sql = sql_of(Watch("tasks", "task", id="id", project="project_id", user="user_id"))
    assert (
        '"project_id"::text collate "C" is not null or "user_id"::text collate "C" is not null'
        in sql["neverstale_update"]
    )
    assert "is null then 'RECONNECT'" not in sql["neverstale_update"]


def test_a_null_that_a_look_up_returns_resets_everything() -> None:
    sql = sql_of(Watch("tasks", "task", id=None, project="upper(project_id)", user=None))
    assert (
        "case when left((upper(project_id))::text, 513) collate \"C\" is null then 'RECONNECT'"
        in sql["neverstale_delete"]
    )
    assert 'old."project_id" is distinct from new."project_id"' in sql["neverstale_moved"]


def test_a_null_of_an_expression_over_the_row_alone_is_no_reset() -> None:
    table = replace(TASKS, row_only=frozenset({"upper(project_id)", "upper(user_id)"}))
    watch = Watch("tasks", "task", id="id", project="upper(project_id)", user="upper(user_id)")
    assert "is null then 'RECONNECT'" not in body("delete", watch, table)
    assert "coalesce" not in body("delete", watch, table)


def test_a_user_that_a_look_up_does_not_find_is_logged_as_an_empty_text() -> None:
    found = "(select p.id from public.people p where p.row = user_id)"
    watch = Watch("tasks", "task", id="id", project="project_id", user=found)
    assert f"coalesce(left(({found})::text, 513) collate \"C\", '')" in body("delete", watch)
    assert "coalesce" not in body("delete", replace(watch, user="user_id"))


def test_a_table_without_projects_logs_every_row() -> None:
    sql = sql_of(Watch("tasks", "task", id="id", project=None, user="user_id"))
    assert "where" not in sql["neverstale_insert"]


def test_a_row_with_a_constant_project_cannot_move() -> None:
    assert "neverstale_moved" not in sql_of(
        Watch("tasks", "x", id=None, project="1", user=None)
    )


def test_text_in_a_watch_cannot_end_the_function_that_holds_it() -> None:
    watch = Watch(
        "tasks", "$neverstale$", id="$neverstale1$id", project="project_id", user=None
    )
    for trigger in plan_triggers(watch, TASKS, CAPTURE):
        assert trigger.digest in trigger.sql
        if "$neverstale$'" in trigger.sql:
            assert "$neverstale2$" in trigger.sql


TREE = replace(TASKS, in_tree=True)
BOUND = Parent(frozenset({"id"}), is_bound=True)
PLAIN = Watch("tasks", "task", id="id", project="project_id", user=None)


def body(trigger: str, watch: Watch, table: Table = TASKS, parent: Parent | None = None) -> str:
    made = plan_triggers(watch, table, CaptureLimits(5, 1000), parent)
    return {one.name: one.sql for one in made}[f"neverstale_{trigger}"]


def test_a_statement_over_the_threshold_is_grouped_by_project() -> None:
    assert "limit 6" in body("insert", PLAIN)
    assert "filter (where p is not null and n > 5)" in body("insert", PLAIN)
    assert "limit 11" in body("update", PLAIN, TREE)
    assert f"{LOG_BYTES} > 1000" in body("insert", PLAIN)


def sql_file(name: str) -> str:
    [path] = (ROOT / "listener").glob(f"*/sql/{name}")
    return path.read_text()


def test_all_sql_measures_the_size_of_the_log_alike() -> None:
    for name in ("schema.sql", "read.sql"):
        assert LOG_BYTES in " ".join(sql_file(name).split())


def test_sql_has_the_limits_of_ids_and_resources() -> None:
    for name in ("read.sql", "backlog.sql"):
        text = sql_file(name)
        assert text.count(f"<= {MAX_ID_BYTES} then") == 3
        assert text.count(f"<= {MAX_RESOURCE_BYTES} then") == 1
    schema = sql_file("schema.sql")
    assert f"octet_length(resource) not between 1 and {MAX_RESOURCE_BYTES}" in schema
    assert schema.count(f"not between 1 and {MAX_ID_BYTES}") == 2
    assert f"octet_length(notify.id) <= {MAX_ID_BYTES}" in schema


def test_a_column_of_any_length_is_cut_when_logged_and_compared_whole() -> None:
    table = replace(TASKS, unbounded=frozenset({"id", "project_id"}))
    assert 'left("project_id"::text, 513) collate "C"' in body("insert", PLAIN, table)
    assert 'left("id"::text, 513) collate "C"' in body("insert", PLAIN, table)
    assert 'old."project_id" is distinct from new."project_id"' in body("moved", PLAIN, table)
    assert "left(" not in body("insert", PLAIN)


def test_a_table_with_users_is_logged_row_by_row() -> None:
    watch = replace(PLAIN, user="user_id")
    for table in (TASKS, TREE):
        assert "limit" not in body("update", watch, table)


def test_ignored_columns_are_left_out_of_the_comparison() -> None:
    watch = replace(PLAIN, ignore=("Odd name",))
    assert 'neverstale_row."Odd name" := old."Odd name";' in body("update", watch)
    assert " when (" not in body("update", watch), "it names no other column"
    assert "array['Odd name']::text[]" in body("update", watch, TREE)


def test_a_row_that_cannot_move_is_logged_only_as_it_is() -> None:
    constant = Watch("tasks", "x", id=None, project="1", user=None, ignore=("id",))
    assert "old.*" not in body("update", constant)


def test_a_column_whose_equality_is_loose_is_compared_and_written_as_text() -> None:
    table = replace(TASKS, loose=frozenset({"project_id"}))
    assert (
        'old."project_id"::text collate "C" is distinct from new."project_id"::text collate "C"'
        in body("moved", PLAIN, table)
    )
    assert "timezone" in body("insert", PLAIN, table)
    assert "timezone" in body("insert", replace(PLAIN, id="lower(id)"))
    assert "timezone" not in body("insert", PLAIN)


def test_a_parent_that_moves_resets_both_projects() -> None:
    moved = body("moved", PLAIN, TASKS, BOUND)
    assert "select old.* union all select new.*" in moved
    assert "'bulk_change', 'RECONNECT'" in moved
    assert "jsonb_build_array(there" in body("update", PLAIN, TREE, BOUND)
    upper = replace(PLAIN, project="upper(project_id)")
    assert "is not null" not in body("moved", upper, TASKS, BOUND).partition("RECONNECT")[2]


def test_a_parent_that_may_replace_another_resets_both_projects() -> None:
    memory = "current_setting('neverstale.deleted_"
    assert memory in body("delete", PLAIN, TASKS, BOUND)
    assert f"if {memory}" in body("insert", PLAIN, TASKS, BOUND)
    for trigger in ("delete", "insert"):
        unbound = body(trigger, PLAIN, TASKS, BOUND.merged(Parent(frozenset(), is_bound=False)))
        assert "'bulk_change', 'RECONNECT'" in unbound.partition("widened")[0]
        assert memory not in unbound + body(trigger, PLAIN)


def test_an_expression_that_fails_is_caught_and_a_column_that_is_gone_is_found() -> None:
    for watch in (replace(PLAIN, id="lower(id)"), replace(PLAIN, ignore=("Odd name",))):
        for trigger in ("insert", "update", "delete"):
            sql = body(trigger, replace(watch, project="lower(project_id)"))
            assert "exception when others or assert_failure" in sql
            assert "SQLSTATE ' || sqlstate" in sql
    for trigger in ("insert", "moved"):
        sql = body(trigger, PLAIN)
        assert "has_column_privilege(tg_relid, 'project_id', 'SELECT')" in sql
        assert "exception when undefined_column" in sql
        assert "when others" not in sql
    read_by_others = Parent(frozenset({"id", "Ämne"}), is_bound=True)
    sql = body("moved", PLAIN, TASKS, read_by_others)
    assert "has_column_privilege(tg_relid, 'Ämne', 'SELECT')" in sql
    assert "neverstale.moved values (null)" in sql
    loose = replace(TREE, loose=frozenset({"Ämne"}))
    assert "when others" in body("update", PLAIN, loose, read_by_others)
    lower = replace(PLAIN, project="lower(project_id)")
    assert "neverstale.moved values (null)" in body("moved", lower, TASKS, BOUND)
    assert "neverstale.moved" not in body("moved", lower)


def test_a_parents_users_are_logged_beside_the_reset_of_its_projects() -> None:
    watch = replace(PLAIN, user="user_id")
    moved = body("moved", watch, TASKS, BOUND)
    assert "'bulk_change', 'RECONNECT'" in moved
    assert "from (select old.*) as changed" in moved
    widened = moved.partition("(select old.*) as changed")[2].partition("  if ")[2]
    widened = widened.partition("'bulk_change'")[0]
    assert 'old."project_id" is distinct from new."project_id"' in widened
    assert "user_id" not in widened, "another user moves nothing that is below it"
    nothing = Watch("tasks", "x", id=None, project="1", user="user_id")
    for trigger, table in (("moved", TASKS), ("update", TREE)):
        assert (
            "select distinct (1)"
            not in body(trigger, nothing, table, BOUND).partition("'x'")[2]
        )


def test_a_project_that_changes_its_owner_is_logged_as_lost() -> None:
    projects = Watch("tasks", "project", id="id", project="id", user="user_id")
    assert "'LOST'" in body("moved", projects)
    assert "'LOST'" in body("update", projects, TREE)
    assert "'LOST'" in body("update", replace(projects, ignore=("Odd name",)))
    for other in (replace(projects, project="project_id"), replace(projects, user=None)):
        assert "'LOST'" not in body("moved", other) + body("update", other, TREE)


@pytest.mark.parametrize("value", [0, -1, True, "50", 1.5])
def test_a_bulk_threshold_is_a_number_above_0(value: object) -> None:
    assert parse_bulk_threshold({}) == 50
    with pytest.raises(ConfigError, match="bulk_threshold"):
        parse_bulk_threshold({"bulk_threshold": value})


SETTINGS = {
    "DATABASE_URL": "postgresql://a:secret@x/db",
    "REDIS_URL": "redis://:secret@x",
    "JWT_SECRET": "s" * 32,
}


def test_settings_have_defaults_and_keep_their_secrets() -> None:
    settings = load_settings(GatewaySettings, {**SETTINGS, "PORT": "", "UNKNOWN": "x"})
    assert (settings.port, settings.replay_max_rows) == (8080, 1000)
    assert "secret@" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    "url", ["postgresql:///app", "postgres://a:b%2Fc@h1:1,h2:2,[::1]:3/db?sslmode=require"]
)
def test_unambiguous_urls_are_accepted(url: str) -> None:
    settings = load_settings(GatewaySettings, {**SETTINGS, "DATABASE_URL": url})
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("changes", "problem_text"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is required"),
        ({"DATABASE_URL": "mysql://x"}, "must start with postgresql:// or postgres://"),
        ({"DATABASE_URL": "postgresql://u:pa/secret@h/d"}, "percent-encode special characters"),
        ({"DATABASE_URL": "postgresql://u:12/secret@h/d"}, "percent-encode special characters"),
        ({"REDIS_URL": "redis://[secret"}, "percent-encode special characters"),
        ({"REDIS_URL": "redis://h:secret"}, "percent-encode special characters"),
        ({"PORT": "no"}, "PORT must be a whole number"),
        ({"PORT": "70000"}, "PORT must be at most 65535"),
        ({"REPLAY_MAX_ROWS": "0"}, "REPLAY_MAX_ROWS must be at least 1"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be 'auto', 'json' or 'console'"),
        ({"JWT_SECRET": "short-and-secret"}, "JWT_SECRET must have at least 32 bytes"),
        ({"JWT_SECRET": ""}, "JWT_SECRET or JWT_PUBLIC_KEY, JWT_KEYS_FILE, JWT_JWKS_URL"),
        ({"JWT_SECRET": ""}, "exactly one must be set, not none"),
        ({"JWT_KEYS_FILE": "x"}, "set, not JWT_SECRET and JWT_KEYS_FILE"),
        (
            {"JWT_SECRET": "", "JWT_KEYS_FILE": "x", "JWT_JWKS_URL": "https://x"},
            "set, not JWT_KEYS_FILE and JWT_JWKS_URL",
        ),
        ({"JWT_SECRET": "", "JWT_PUBLIC_KEY": "secret"}, "JWT_PUBLIC_KEY must be a public key"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "http://secret.x"}, "must start with https://"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "https://[secret"}, "JWT_JWKS_URL must be a URL"),
        ({"JWT_SECRET": "", "JWT_JWKS_URL": "secret"}, "must start with https://"),
        ({"JWT_ALGORITHMS": "HS256,none"}, "JWT_ALGORITHMS must be 'HS256', 'HS384',"),
        ({"JWT_LEEWAY_SECONDS": "301"}, "must be at most 300"),
        ({"JWT_JWKS_REFRESH_SECONDS": "0"}, "must be at least 1"),
        ({"ALLOWED_ORIGINS": "a.test, *"}, "ALLOWED_ORIGINS must be hosts as in"),
        ({"ADMIN_KEY": "short-and-secret"}, "ADMIN_KEY must have at least 32 bytes"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, secret"}, "must be addresses or networks as in"),
        ({"MAX_SOCKETS": "-1"}, "MAX_SOCKETS must be at least 0"),
        ({"MAX_MESSAGE_BYTES": "0"}, "MAX_MESSAGE_BYTES must be at least 1024"),
        ({"ALLOW_QUERY_TOKEN": "maybe"}, "ALLOW_QUERY_TOKEN must be true or false"),
    ],
)
def test_a_wrong_setting_is_reported_without_its_value(
    changes: dict[str, str], problem_text: str
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(GatewaySettings, {**SETTINGS, **changes})
    [problem] = refused.value.problems
    assert problem_text in problem
    assert "secret" not in problem.replace("the secret of", "")


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://id.test/jwks", {}),
        ("http://localhost:8000/jwks", {}),
        ("http://127.0.0.1/jwks", {}),
        ("http://[::1]:80/jwks", {}),
        ("http://id/jwks", {"JWT_JWKS_ALLOW_HTTP": "true"}),
    ],
)
def test_keys_are_fetched_over_https_or_from_the_same_host(
    url: str, more: dict[str, str]
) -> None:
    changes = {"JWT_SECRET": "", "JWT_JWKS_URL": url, **more}
    settings = load_settings(GatewaySettings, {**SETTINGS, **changes})
    assert settings.jwt_jwks_url is not None
    assert url not in repr(settings)


def test_lists_are_separated_by_commas() -> None:
    settings = load_settings(
        GatewaySettings,
        {
            **SETTINGS,
            "JWT_ALGORITHMS": "HS256, HS512",
            "ALLOWED_ORIGINS": "a.test,*.b.test",
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
        },
    )
    assert settings.trusted_proxies == parse_networks(["10.0.0.0/8", "::1"])
    assert settings.jwt_algorithms == ("HS256", "HS512")
    assert settings.allowed_origins == (parse_rule("a.test"), parse_rule("*.b.test"))


def test_every_setting_is_described() -> None:
    for kind in (ListenerSettings, GatewaySettings):
        text = describe_settings(kind)
        for name, field in kind.model_fields.items():
            assert name.upper() in text
            assert field.description
            assert field.description in text


def test_backoff_doubles_below_its_cap_with_full_jitter() -> None:
    backoff = Backoff(base=1, cap=8, rng=random.Random(1))
    for bound in (1, 2, 4, 8, 8, 8):
        assert 0 <= backoff.next_delay() <= bound
    backoff.reset()
    assert backoff.next_delay() <= 1
