"""The SQL of the triggers of a watch."""

from dataclasses import replace
from pathlib import Path

from listener.capture.expressions import Table
from listener.capture.logged_rows import CaptureLimits, Parent
from listener.capture.triggers import LOG_BYTES, TriggerName, plan_triggers
from listener.capture.watches import MAX_RESOURCE_BYTES, Watch
from shared.protocol.channels import MAX_ID_BYTES

ROOT = Path(__file__).parents[4]
CAPTURE = CaptureLimits(50, 2**30)
TASKS = Table("public", "tasks", ("id", "project_id", "user_id", "Odd name", "Ämne"))


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
