"""What ``check`` says of changes that no trigger can see: notes, all being as the file says."""

from pathlib import Path

import asyncpg

from tests.support.world import World

NOTE = "note: "


async def notes(world: World, **more: str) -> list[str]:
    code, output, errors = await world.command("neverstale", "check", **more)
    assert (code, errors) == (0, "")
    return [line for line in output.splitlines() if line.startswith(NOTE)]


async def test_the_shipped_config_needs_no_note(world: World) -> None:
    assert await notes(world) == []


async def test_prepared_transactions_and_subscriptions_are_noted(own_world: World) -> None:
    world = own_world
    for setting in ("max_prepared_transactions = 5", "wal_level = logical"):
        await world.database.execute(f"alter system set {setting}")
    world.servers.postgres.stop()
    world.servers.postgres.start()
    await world.reconnect_database()
    publisher = await asyncpg.connect(world.servers.postgres.url)
    try:
        await publisher.execute("create table tasks (id int primary key)")
        await publisher.execute("create publication elsewhere for table tasks")
        await publisher.execute("select pg_create_logical_replication_slot('here', 'pgoutput')")
        await world.database.execute(
            f"create subscription here connection '{world.servers.postgres.url}'"
            " publication elsewhere"
            " with (create_slot = false, copy_data = false, enabled = false)"
        )
        prepared, subscription = await notes(world)
        assert prepared.startswith(f"{NOTE}max_prepared_transactions is 5: PREPARE TRANSACTION")
        assert subscription.startswith(f"{NOTE}subscription here writes public.tasks: ")
        await world.database.execute("alter subscription here set (slot_name = none)")
        await world.database.execute("drop subscription here")
        await publisher.execute("select pg_drop_replication_slot('here')")
    finally:
        await publisher.close()


async def test_an_unwatched_parent_is_noted(world: World, tmp_path: Path) -> None:
    await world.database.execute("create table subtasks (id int primary key, task_id uuid)")
    config = tmp_path / "invalidation.toml"
    config.write_text(
        """
        [[watch]]
        table = "subtasks"
        resource = "subtask"
        project = "(select t.project_id from public.tasks t where t.id = task_id)"
        """
    )
    await world.command("listener", "install", NEVERSTALE_CONFIG=str(config))
    [told] = await notes(world, NEVERSTALE_CONFIG=str(config))
    assert told.startswith(
        f'{NOTE}watch (subtasks) project: looks up "public"."tasks", which is not watched'
    )
