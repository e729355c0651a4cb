-- Rights on Neverstale's objects beyond those of docs/how-to/postgresql-roles.md, and the statement that revokes each. A role
-- that may execute try_lead() is a listener: to know it by one of the rights on tables would excuse that right.
with documented (name, privileges) as (
    values ('change_log', '{SELECT,INSERT,DELETE,MAINTAIN}'::text[]), ('incarnation', '{SELECT,INSERT}'),
           ('installation', '{SELECT}'), ('skips', '{SELECT}'), ('skips_noted', '{SELECT,UPDATE}'),
           ('skipped', '{SELECT,UPDATE}'), ('raw_notify_seen', '{SELECT,UPDATE}'), ('moved', '{SELECT,UPDATE,DELETE}')
), functions as (
    select p.oid::regprocedure::text as name, proname, prorettype = 'trigger'::regtype as is_trigger, proowner, a.grantee
      from pg_proc p
      cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where pronamespace = 'neverstale'::regnamespace and a.grantee <> p.proowner
), given as (
    select 'table ' || c.oid::regclass as object, a.grantee, a.privilege_type
      from pg_class c
      left join documented on documented.name = c.relname
      cross join lateral aclexplode(c.relacl) a
     where relnamespace = 'neverstale'::regnamespace and relkind in ('r', 'v', 'S')
       and a.grantee <> relowner
       and a.grantee not in (select proowner from pg_proc
                              where pronamespace = 'neverstale'::regnamespace and prorettype = 'trigger'::regtype)
       and (a.grantee not in (select grantee from functions where proname = 'try_lead')
            or coalesce(a.privilege_type <> all (privileges), true))
    union all
    select 'function ' || name, grantee, 'EXECUTE' from functions where is_trigger or grantee = 0
    union all
    select 'schema neverstale', a.grantee, a.privilege_type
      from pg_namespace n
      cross join lateral aclexplode(n.nspacl) a
     where nspname = 'neverstale' and a.grantee <> nspowner and a.privilege_type = 'CREATE'
)
select object, role, string_agg(privilege_type, ', ' order by privilege_type) as privileges,
       format('revoke %s on %s from %s', string_agg(privilege_type, ', ' order by privilege_type), object, role) as statement
  from given
  cross join lateral (select case grantee when 0 then 'public' else grantee::regrole::text end as role) as named
 group by object, role
 order by object, role
