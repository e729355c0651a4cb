-- Restrict EXECUTE: trigger functions to their owner; notify(), try_lead() and settings() to roles granted them.
-- By default PostgreSQL grants EXECUTE to every role: a role could then attach a trigger function to a table of its own,
-- with a type whose cast to text would run as the function's owner.
do $neverstale$
declare
  statement text;
begin
  for statement in
    with granted as (
      select p.oid::regprocedure as function, p.proname as name, p.prorettype = 'trigger'::regtype as is_trigger,
             a.grantee, case a.grantee when 0 then 'public' else a.grantee::regrole::text end as role
        from pg_proc p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       where p.pronamespace = 'neverstale'::regnamespace and a.grantee <> p.proowner
    ), users as (
      select a.grantee
        from pg_namespace n
        cross join lateral aclexplode(n.nspacl) a
       where n.nspname = 'neverstale' and a.privilege_type = 'USAGE' and a.grantee <> n.nspowner
    ), listeners as (
      select a.grantee
        from pg_class c
        cross join lateral aclexplode(c.relacl) a
       where c.oid = 'neverstale.change_log'::regclass and a.privilege_type = 'DELETE' and a.grantee <> c.relowner
    )
    -- An older version granted EXECUTE to PUBLIC: roles with the documented grants keep it. (A listener is recognized here
    -- by its right to DELETE, since EXECUTE on try_lead() is granted below.)
    select format('grant execute on function %s to %s', function, users.grantee::regrole), 1 as step
      from granted, users where granted.grantee = 0 and users.grantee <> 0 and name = 'notify'
    union all
    select format('grant execute on function %s to %s', function, listeners.grantee::regrole), 1
      from granted, listeners where granted.grantee = 0 and listeners.grantee <> 0 and name in ('try_lead', 'settings')
    union all
    select format('revoke all on function %s from %s', function, role), 2
      from granted
     where is_trigger
        -- also revoke what ALTER DEFAULT PRIVILEGES granted on functions just created
        or (name in ('try_lead', 'settings') and grantee not in (select listeners.grantee from listeners)
            and exists (select from granted made where made.name = granted.name and made.grantee = 0))
        or (grantee = 0 and not (name = 'notify' and exists (select from users where grantee = 0)))
     order by step
  loop
    execute statement;
  end loop;
end
$neverstale$;
