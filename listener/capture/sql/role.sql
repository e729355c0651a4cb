-- $1: a role's name. Returns what it can do besides owning Neverstale's functions in this database, or an empty text.
select concat_ws(', ',
         case when rolsuper then 'it is a superuser' end,
         case when rolcanlogin then 'it can log in' end,
         case when rolcreaterole or rolcreatedb or rolreplication then 'it has attributes' end,
         (select 'it is a member of ' || string_agg(roleid::regrole::text, ', ')
            from pg_auth_members where member = r.oid),
         (select string_agg(member::regrole::text, ', ') || ' may act as it'
            from pg_auth_members m join pg_roles o on o.oid = m.member
           where m.roleid = r.oid and not o.rolsuper and o.rolname <> current_user
             and o.oid is distinct from (select nspowner from pg_namespace where nspname = 'neverstale')),
         (select 'it owns ' || count(*) || ' other objects'
            from pg_shdepend
           where refclassid = 'pg_authid'::regclass and refobjid = r.oid and deptype = 'o'
             and dbid in (0, (select oid from pg_database where datname = current_database()))
             and not (classid = 'pg_proc'::regclass
                      and objid in (select oid from pg_proc where pronamespace = to_regnamespace('neverstale')))
          having count(*) > 0)) as can_do_more
  from pg_roles r
 where rolname = $1
