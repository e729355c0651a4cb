-- A schema of this name that another role has made may hold tables whose triggers would run code of theirs.
do $neverstale$
declare
  found text;
begin
  with objects (object, owner) as (
    select 'schema neverstale', nspowner from pg_namespace where nspname = 'neverstale'
    union all
    select 'relation ' || oid::regclass, relowner
      from pg_class where relnamespace = to_regnamespace('neverstale')
    union all
    select 'function ' || oid::regprocedure, proowner
      from pg_proc
     where pronamespace = to_regnamespace('neverstale')
       -- the role that trigger functions were given to
       and not (prorettype = 'trigger'::regtype and proname <> 'wake'
                and exists (select from pg_roles r where r.oid = proowner and not rolcanlogin))
    union all
    select 'function ' || tgfoid::regprocedure, proowner
      from pg_trigger t
      join pg_class c on c.oid = tgrelid
      join pg_proc p on p.oid = tgfoid
     where relnamespace = to_regnamespace('neverstale') and not tgisinternal
  )
  select format('%s belongs to %s', object, owner::regrole) into found
    from objects
   where not pg_has_role(owner, current_user, 'MEMBER')
   limit 1;
  if found is not null then
    raise exception 'neverstale: %: install as that role, or drop or give away what is not yours', found
      using errcode = 'insufficient_privilege';
  end if;
end
$neverstale$;

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
  -- Rows are short (6.5 kB at most) and are never moved to TOAST, whose size no trigger counts. No writer waits for
  -- this lock (SHARE UPDATE EXCLUSIVE).
  if not exists (select from pg_class
                  where oid = 'neverstale.change_log'::regclass and reloptions @> array['toast_tuple_target=8160']) then
    alter table neverstale.change_log set (toast_tuple_target = 8160);
  end if;
end
$neverstale$;
insert into neverstale.installation (version) values (4) on conflict (only_row) do nothing;
update neverstale.installation set version = 4 where version <> 4;

-- The leader's lock: unlike an advisory lock, which any role can take, it needs a right on this view. A view has no
-- storage, so neither VACUUM nor pg_dump ever waits for who holds it.
do $neverstale$
begin
  if to_regclass('neverstale.leader') is null then
    create view neverstale.leader as select true as only_row;
  end if;
end
$neverstale$;

-- Takes the leader's lock until the end of the transaction; false: another session has it. An error caught here is
-- not written to PostgreSQL's log, as the error of a bare LOCK TABLE ... NOWAIT would be at every poll.
create or replace function neverstale.try_lead() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $neverstale$
begin
  lock table neverstale.leader in exclusive mode nowait;
  return true;
exception when lock_not_available then
  return false;
end
$neverstale$;

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
  if octet_length(resource) not between 1 and 256 or octet_length(project_id) not between 1 and 512
     or octet_length(user_id) not between 1 and 512 then
    raise exception 'neverstale.notify needs a resource of 1 to 256 bytes, and a project and a user of 1 to 512'
      using errcode = 'invalid_parameter_value';
  end if;
  if pg_catalog.pg_relation_size('neverstale.change_log') + pg_catalog.pg_relation_size('neverstale.change_log_xid')
     > (select i.log_max_bytes from neverstale.installation i) then
    perform pg_catalog.nextval('neverstale.skips');
    return;
  end if;
  insert into neverstale.change_log (project_id, user_id, resource, id, action)
  values (notify.project_id, notify.user_id, notify.resource,
          case when octet_length(notify.id) <= 512 then notify.id end, notify.action); -- without one: all of the project
end
$neverstale$;

-- What default privileges gave to others in a schema that was made just now.
do $neverstale$
declare
  statement text;
begin
  if (select xmin from pg_namespace where nspname = 'neverstale') is distinct from pg_current_xact_id()::xid then
    return;
  end if;
  for statement in
    select format('revoke all on table %s from %s', c.oid::regclass, named.role)
      from pg_class c
      cross join lateral aclexplode(relacl) a
      cross join lateral (select case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role) named
     where relnamespace = 'neverstale'::regnamespace and a.grantee <> relowner
    union
    select format('revoke all on function %s from %s', p.oid::regprocedure, named.role)
      from pg_proc p
      cross join lateral aclexplode(coalesce(proacl, acldefault('f', proowner))) a
      cross join lateral (select case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role) named
     where pronamespace = 'neverstale'::regnamespace and a.grantee <> proowner
    union
    select format('revoke all on schema neverstale from %s', named.role)
      from pg_namespace n
      cross join lateral aclexplode(nspacl) a
      cross join lateral (select case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role) named
     where nspname = 'neverstale' and a.grantee <> nspowner
  loop
    execute statement;
  end loop;
end
$neverstale$;
