-- $1: a view. Returns the type of its second column (of a domain, its base type), and whether its collation, if it has one,
-- distinguishes all different texts.
with recursive below (type, collated_by) as (
    select atttypid, attcollation from pg_attribute where attrelid = $1::regclass and attnum = 2
    union all
    select typbasetype, collated_by from below join pg_type on oid = type where typtype = 'd'
)
select format_type(type, null) as name, coalesce(collisdeterministic, true) as is_exact
  from below
  left join pg_collation on pg_collation.oid = collated_by
 where not exists (select from pg_type where oid = type and typtype = 'd')
