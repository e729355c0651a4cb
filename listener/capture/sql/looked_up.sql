-- Continues dependencies.sql.
-- Returns the relations that the view reads, through other views too, and the functions that it calls; whether the view
-- itself names them, and whether the current role may use them.
select n.nspname as schema, c.relname as name, 'table' as kind, c.relkind in ('r', 'p', 'f', 'm') as is_table,
       bool_or(is_named) as is_named, has_any_column_privilege(c.oid, 'select') as is_allowed
  from reached
  join pg_class c on classid = 'pg_class'::regclass and c.oid = objid
  join pg_namespace n on n.oid = c.relnamespace
 group by n.nspname, c.oid, c.relname, c.relkind
union all
select n.nspname, p.proname, 'function', false, bool_or(is_named), has_function_privilege(p.oid, 'execute')
  from reached
  join pg_proc p on classid = 'pg_proc'::regclass and p.oid = objid
  join pg_namespace n on n.oid = p.pronamespace
 group by n.nspname, p.oid, p.proname
 order by 1, 2
