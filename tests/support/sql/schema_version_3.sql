create schema if not exists neverstale;

-- The truth: a row for each change, or for what must be widened (action RECONNECT, resource = its reason). A project that
-- changes its owner is logged as LOST for the old one (user_id), and as an UPDATE for the new one.
create unlogged table if not exists neverstale.change_log (
    xid xid8 not null default pg_current_xact_id(),
    project_id text,
    user_id text,
    resource text not null,
    id text,
    action text not null,
    at timestamptz not null default clock_timestamp()
);
-- Counts what triggers have skipped, for good: neither a rollback nor a log that has shrunk since hides it.
create sequence if not exists neverstale.skips;

-- Projects below which a parent has moved: who wrote a child meanwhile looked up where it was, and may commit later. They
-- are told once more when all transactions below the barrier, which the leader puts here, have ended.
create unlogged table if not exists neverstale.moved (project_id text, barrier xid8);

-- Unlogged, so that a crash empties it together with the log.
create unlogged table if not exists neverstale.incarnation (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid()
);

create table if not exists neverstale.installation (
    only_row boolean primary key default true check (only_row),
    version integer not null,
    watches text not null default '',
    raw_notify_seen boolean not null default false
);

-- What is there already is not locked: writers hold the log, and the listener reads the installation.
do $neverstale$
begin
  if to_regclass('neverstale.change_log_xid') is null then
    create index change_log_xid on neverstale.change_log (xid);
  end if;
  if not exists (select from pg_attribute
                  where attrelid = 'neverstale.installation'::regclass and attname = 'skips_noted') then
    alter table neverstale.installation
      add column if not exists log_max_bytes bigint not null default 1073741824,
      add column if not exists disabled boolean not null default false,
      -- a leader saw triggers skip the log, and has not reset behind a barrier yet: outlives Redis
      add column if not exists skipped boolean not null default false,
      -- where the count of skips was when it saw it
      add column if not exists skips_noted bigint not null default 1;
    perform setval('neverstale.skips', 1);
  end if;
end
$neverstale$;
insert into neverstale.installation (version) values (3) on conflict (only_row) do nothing;
update neverstale.installation set version = 3 where version <> 3;

-- The wake-up at commit. A transaction that has NOTIFYed holds a cluster-wide lock over its WAL flush, so only
-- the one that gets the token does; whoever skips it is committing already and is found by the reads that follow.
create or replace function neverstale.wake() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $neverstale$
begin
  -- a full queue (somebody listens and never reads) would fail the commit
  if pg_catalog.pg_try_advisory_xact_lock(1853187955, 2) and pg_catalog.pg_notification_queue_usage() < 0.9 then
    notify cache_invalidate;
  end if;
  return null;
end
$neverstale$;

do $neverstale$
begin
  if not exists (select from pg_catalog.pg_trigger
                  where tgrelid = 'neverstale.change_log'::regclass and tgname = 'neverstale_wake') then
    create constraint trigger neverstale_wake after insert on neverstale.change_log
      deferrable initially deferred for each row execute function neverstale.wake();
    alter table neverstale.change_log enable always trigger neverstale_wake;
  end if;
end
$neverstale$;

-- For changes that no table shows. Lossless, unlike a NOTIFY of one's own: it is logged.
create or replace function neverstale.notify(
    resource text, action text, project_id text, id text default null, user_id text default null
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $neverstale$
begin
  if resource is null or project_id is null or action not in ('INSERT', 'UPDATE', 'DELETE') or action is null then
    raise exception 'neverstale.notify needs a resource, an action (INSERT, UPDATE, DELETE) and a project'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into neverstale.change_log (project_id, user_id, resource, id, action)
  values (notify.project_id, notify.user_id, notify.resource, notify.id, notify.action);
end
$neverstale$;
