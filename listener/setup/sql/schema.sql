-- A schema of this name that another role has created may hold tables whose triggers would run code of that role.
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
       -- except trigger functions that belong to a role that cannot log in (install --owner)
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

-- The change log: a row for each change, or for a reset of a project or of everything (action RECONNECT; resource is the
-- reason). A project that changes its owner is logged as LOST for the old owner (user_id), and as an UPDATE for the new one.
create unlogged table if not exists neverstale.change_log (
    xid xid8 not null default pg_current_xact_id(),
    project_id text,
    user_id text,
    resource text not null,
    id text,
    action text not null,
    at timestamptz not null default clock_timestamp()
);
-- Counts the changes that triggers have skipped. A sequence: neither a rollback nor a log that has shrunk since hides a skip.
create sequence if not exists neverstale.skips;

-- Projects of parents that have moved. A transaction that wrote a child meanwhile may have looked up the old project and may
-- commit later, so the projects are reset once more when all transactions below the barrier, which the leader sets, have ended.
create unlogged table if not exists neverstale.moved (project_id text, barrier xid8);

-- The identity of the log's history. Unlogged, so that a crash empties it together with the log.
create unlogged table if not exists neverstale.incarnation (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid()
);

-- The state of the installation is not in a table: a logged table would be part of every publication FOR ALL TABLES, and a
-- crash would empty an unlogged one. The leader stores its state in sequences; of skipped and raw_notify_seen, which are flags,
-- the value is is_called. install stores its state as the constants of neverstale.settings().
create sequence if not exists neverstale.skips_noted; -- the state of skips when the leader last read it
create sequence if not exists neverstale.skipped; -- a leader saw skipped changes, and has not yet reset after a barrier
create sequence if not exists neverstale.raw_notify_seen; -- another producer has sent a NOTIFY

-- Existing objects are not locked, because writers use the log.
do $neverstale$
begin
  if to_regclass('neverstale.change_log_xid') is null then
    create index change_log_xid on neverstale.change_log (xid);
  end if;
  -- Rows are short (6.5 kB at most) and never moved to TOAST, whose size the triggers do not count. No writer waits for
  -- this lock (SHARE UPDATE EXCLUSIVE).
  if not exists (select from pg_class
                  where oid = 'neverstale.change_log'::regclass and reloptions @> array['toast_tuple_target=8160']) then
    alter table neverstale.change_log set (toast_tuple_target = 8160);
  end if;
end
$neverstale$;

-- Up to version 4 this state was a logged table, installation. It is a view now: older listeners read it until they are
-- replaced, calls of the older notify() that wait for the lock on the table find the view in its place, and install locks
-- it, so that no two installs run at once.
do $neverstale$
declare
  listeners regrole[];
  listener regrole;
  old jsonb;
  made text;
  grantee text;
begin
  if exists (select from pg_class where oid = to_regclass('neverstale.installation') and relkind = 'r') then
    select to_jsonb(i) into old from neverstale.installation i;
    select array_agg(distinct a.grantee) into listeners
      from pg_class c
      cross join lateral aclexplode(c.relacl) a
     where c.oid = 'neverstale.installation'::regclass
       and a.privilege_type = 'UPDATE' and a.grantee not in (0, c.relowner);
    drop table neverstale.installation;
    perform setval('neverstale.skips_noted', coalesce((old ->> 'skips_noted')::bigint, 1), old ? 'skips_noted'),
            setval('neverstale.skipped', 1, coalesce((old ->> 'skipped')::boolean, false)),
            setval('neverstale.raw_notify_seen', 1, coalesce((old ->> 'raw_notify_seen')::boolean, false));
  end if;
  if to_regprocedure('neverstale.settings()') is null then
    execute format(
      'create function neverstale.settings(out version integer, out watches text, out log_max_bytes bigint, '
      'out disabled boolean) returns setof record language sql stable as %L',
      format('select 5, %L, %s, %s', coalesce(old ->> 'watches', ''), coalesce(old ->> 'log_max_bytes', '1073741824'),
             coalesce(old ->> 'disabled', 'false')));
  end if;
  if to_regclass('neverstale.installation') is null then
    create view neverstale.installation as
      select true as only_row, s.version, s.watches, r.is_called as raw_notify_seen, s.log_max_bytes, s.disabled,
             k.is_called as skipped, n.last_value as skips_noted
        from neverstale.settings() s, neverstale.raw_notify_seen r, neverstale.skipped k, neverstale.skips_noted n;
  end if;
  -- Revoke what default privileges granted on the objects that were created just now.
  for made, grantee in
    select c.oid::regclass::text, case a.grantee when 0 then 'public' else a.grantee::regrole::text end
      from pg_class c
      cross join lateral aclexplode(c.relacl) a
     where c.relnamespace = 'neverstale'::regnamespace
       and c.relname in ('skips_noted', 'skipped', 'raw_notify_seen', 'installation')
       and c.xmin = pg_current_xact_id()::xid and a.grantee <> c.relowner
  loop
    execute format('revoke all on table %s from %s', made, grantee);
  end loop;
  foreach listener in array coalesce(listeners, '{}') loop
    execute format('grant select on neverstale.installation to %s', listener);
    execute format('grant select, update on neverstale.skips_noted, neverstale.skipped, neverstale.raw_notify_seen to %s',
                   listener);
    execute format('grant execute on function neverstale.settings() to %s', listener);
  end loop;
end
$neverstale$;

-- If the database enables row-level security for each new table, it would refuse what the functions here write.
do $neverstale$
declare
  secured regclass;
begin
  for secured in
    select oid from pg_class where relnamespace = 'neverstale'::regnamespace and relkind = 'r' and relrowsecurity
  loop
    execute format('alter table %s disable row level security', secured);
  end loop;
end
$neverstale$;

-- The leader's lock. Unlike an advisory lock, which any role can take, it needs a right on this view. A view has no
-- storage, so neither VACUUM nor pg_dump waits for the lock.
do $neverstale$
begin
  if to_regclass('neverstale.leader') is null then
    create view neverstale.leader as select true as only_row;
  end if;
end
$neverstale$;

-- Takes the leader's lock until the end of the transaction, or returns false if another session has it. The error is caught
-- here, because PostgreSQL would log the error of a bare LOCK TABLE ... NOWAIT at every poll.
create or replace function neverstale.try_lead() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $neverstale$
begin
  lock table neverstale.leader in exclusive mode nowait;
  return true;
exception when lock_not_available then
  return false;
end
$neverstale$;

-- The wake-up at commit. A transaction that has sent a NOTIFY holds a cluster-wide lock during its WAL flush, so only the one
-- that gets the advisory lock sends it. The others skip it; polling, at most 250 ms apart, finds their rows.
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

-- Logs a change that no watched table shows. Unlike a NOTIFY sent by the app, it is not lost while no listener runs.
create or replace function neverstale.notify(
    resource text, action text, project_id text, id text default null, user_id text default null
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set row_security = off as $neverstale$
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
     > (select s.log_max_bytes from neverstale.settings() s) then
    perform pg_catalog.nextval('neverstale.skips');
    return;
  end if;
  insert into neverstale.change_log (project_id, user_id, resource, id, action)
  values (notify.project_id, notify.user_id, notify.resource,
          case when octet_length(notify.id) <= 512 then notify.id end, notify.action); -- without one: all of the project
end
$neverstale$;

-- Revoke what default privileges granted in a schema that was created just now.
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
