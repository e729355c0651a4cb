-- $1: a view -> the tables that it reads, through other views too; those and the functions that it names itself
-- (is_named), and whether this role may use them.
with recursive reached (classid, objid, is_named) as (
    select d.refclassid, d.refobjid, true
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
     where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
    union
    select d.refclassid, d.refobjid, false
      from reached
      join pg_class c on reached.classid = 'pg_class'::regclass and c.oid = reached.objid and c.relkind = 'v'
      join pg_rewrite r on r.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> c.oid
)
select n.nspname as schema, c.relname as name, 'table' as kind, c.relkind in ('r', 'p', 'f', 'm') as is_table,
       bool_or(is_named) as is_named, has_any_column_privilege(c.oid, 'select') as is_allowed
  from reached
  join pg_class c on classid = 'pg_class'::regclass and c.oid = objid
  join pg_namespace n on n.oid = c.relnamespace
 group by n.nspname, c.oid, c.relname, c.relkind
union all
select n.nspname, p.proname, 'function', false, is_named, has_function_privilege(p.oid, 'execute')
  from reached
  join pg_proc p on classid = 'pg_proc'::regclass and p.oid = objid
  join pg_namespace n on n.oid = p.pronamespace
 order by 1, 2
