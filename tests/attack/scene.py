"""The attacked stack: a world with the victim's project, attacker's projects and roles."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from deploy.dev.servers import free_port
from tests.attack.peer import Target
from tests.support.documented import documented_grants
from tests.support.processes import ROOT, Part
from tests.support.world import World, install_config

PROJECTS: Final = 100  # as many as a socket may subscribe to
ATTACKER: Final = "00000bad-0000-4000-8000-000000000003"
# 127.0.0.2 is none of these, so it counts as a client's address that limits apply to
_PROXIES: Final = "192.0.2.0/24"
_WATCH: Final = """
[[watch]]
table = "notes"
resource = "note"
id = "id"
project = "project"
"""
_LISTENER: Final = "attacked_listener"
_GATEWAY: Final = "attacked_gateway"
_ROLES: Final = ("attack_connect", "attack_usage", "attack_writes", _LISTENER, _GATEWAY)
_SETUP: Final = f"""
create table notes (id text, project text, body text);
insert into users (id, name) values ('{ATTACKER}', 'Mallory');
do $$
declare
  role text;
  notify regprocedure;
begin
  foreach role in array array[{", ".join(map(repr, _ROLES))}] loop
    if not exists (select from pg_roles where rolname = role) then
      execute format('create role %I login', role);
    end if;
  end loop;
  grant usage on schema neverstale to attack_usage;
  for notify in select oid from pg_proc
                 where pronamespace = 'neverstale'::regnamespace and proname = 'notify' loop
    execute format('grant execute on function %s to attack_usage', notify);
  end loop;
  grant select, insert, update, delete on all tables in schema public to attack_writes;
end $$;
"""
_MAKE_PROJECTS: Final = (
    "insert into projects (owner_id, name) select $1, '' from generate_series(1, $2)"
    " returning id::text"
)


@dataclass
class Scene:
    """The running parts, leader first. The victim's project is ``world.apollo``."""

    world: World
    listeners: list[Part]
    gateway: Part
    projects: list[str]
    cursors: list[str] = field(default_factory=list)

    @property
    def parts(self) -> list[Part]:
        return [self.gateway, *self.listeners]

    def target(self) -> Target:
        world = self.world
        return Target(
            self.gateway.port,
            world.database_url,
            world.servers.valkey.url,
            world.prefix,
            ATTACKER,
            self.projects,
            world.apollo,
            self.cursors,
        )


async def build_scene(
    world: World, settings: Mapping[str, str], *, standby: bool, max_files: int | None
) -> Scene:
    """Prepare a world for an attack and start its parts."""
    await world.database.execute(_SETUP)
    rows = await world.database.fetch(_MAKE_PROJECTS, ATTACKER, PROJECTS)
    config = world.servers.postgres.folder.parent / f"{world.prefix.rstrip(':')}.toml"
    config.write_text((ROOT / "invalidation.toml").read_text() + _WATCH)
    world.more |= {
        "NEVERSTALE_CONFIG": str(config),
        "TRUSTED_PROXIES": _PROXIES,
        "DRAIN_SECONDS": "0",
        **settings,
    }
    await install_config(world.database, config)
    await world.database.execute(documented_grants(_LISTENER, _GATEWAY))
    listener, url = _as_role(world, _LISTENER), _as_role(world, _GATEWAY)
    async with asyncio.TaskGroup() as tasks:  # a gateway is ready once a listener leads
        leader = tasks.create_task(world.listener(DATABASE_URL=listener))
        gateway = tasks.create_task(
            world.gateway(DATABASE_URL=url)
            if max_files is None
            else _few_files(world, max_files, DATABASE_URL=url)
        )
    listeners = [leader.result()]
    if standby:
        listeners.append(await world.listener(role="standby", DATABASE_URL=listener))
    return Scene(world, listeners, gateway.result(), [row["id"] for row in rows])


def _as_role(world: World, role: str) -> str:
    """Return the database's URL for a role."""
    return world.database_url.replace("postgres@", f"{role}@")


async def _few_files(world: World, max_files: int, **more: str) -> Part:
    port = free_port()
    environment = world.environment(PORT=str(port), MAX_FILES=str(max_files), **more)
    part = Part("tests.attack.few_files", environment, port)
    world.parts.append(part)
    await part.start()
    await part.ready(world.http)
    return part
