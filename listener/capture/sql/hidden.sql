-- Continues dependencies.sql. $2: the roles that read the view.
-- Returns what PostgreSQL would hide from a role or refuse it: tables whose row-level security applies to the role that
-- reads them (is_filtered), and relations of which that role may not read a column that is needed.
, judged as (
    select c.oid::regclass::text as relation, rolname::text as role,
           c.relrowsecurity and not (rolsuper or rolbypassrls)
             and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'USAGE')) as is_filtered,
           case number when 0 then has_any_column_privilege(r.oid, c.oid, 'SELECT')
                       else has_column_privilege(r.oid, c.oid, number::int2, 'SELECT') end as is_readable
      from reached
      join pg_class c on classid = 'pg_class'::regclass and c.oid = objid
      join pg_roles r on r.oid = reader or reader is null and r.rolname = any ($2::text[])
)
select relation, role, bool_or(is_filtered) as is_filtered
  from judged
 where is_filtered or not is_readable
 group by relation, role
 order by relation, role
