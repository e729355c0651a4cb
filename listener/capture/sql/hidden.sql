-- $1: a view.  $2: roles that read what it reads -> what PostgreSQL would hide from them, or refuse them: tables whose
-- row-level security applies to the reader (is_filtered), and relations of which it may not read a column. A view reads with
-- its own owner's rights, unless it is declared to read with its reader's.
with recursive reached (classid, objid, number, reader) as (
    select d.refclassid, d.refobjid, d.refobjsubid, roles.oid
      from pg_roles roles
      join pg_rewrite r on r.ev_class = $1::regclass
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> r.ev_class
     where rolname = any ($2::text[])
    union
    select d.refclassid, d.refobjid, d.refobjsubid,
           case when (select option_value::boolean from pg_options_to_table(c.reloptions)
                       where option_name = 'security_invoker') then reader else c.relowner end
      from reached
      join pg_class c on reached.classid = 'pg_class'::regclass and c.oid = reached.objid and c.relkind = 'v'
      join pg_rewrite r on r.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> c.oid
), judged as (
    select c.oid::regclass::text as relation, rolname::text as role,
           c.relrowsecurity and not (rolsuper or rolbypassrls)
             and (c.relforcerowsecurity or not pg_has_role(reader, c.relowner, 'USAGE')) as is_filtered,
           case number when 0 then has_any_column_privilege(reader, c.oid, 'SELECT')
                       else has_column_privilege(reader, c.oid, number::int2, 'SELECT') end as is_readable
      from reached
      join pg_class c on classid = 'pg_class'::regclass and c.oid = objid
      join pg_roles r on r.oid = reader
)
select relation, role, bool_or(is_filtered) as is_filtered
  from judged
 where is_filtered or not is_readable
 group by relation, role
 order by relation, role
