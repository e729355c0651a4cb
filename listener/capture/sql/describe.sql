-- $1: a table's oid. Returns the table and all tables below it in its tree, as the catalog describes them.
with recursive tree as (
    select $1::oid as oid
    union
    select inhrelid from tree join pg_inherits on inhparent = tree.oid
)
select n.nspname as schema, c.relname as name, c.relkind::text, c.oid = $1 as is_named,
       c.relkind = 'p'
         or exists (select from pg_inherits where inhrelid = c.oid or inhparent = c.oid) as in_tree,
       array(select attname::text
               from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped
              order by attnum) as columns,
       array(select format_type(atttypid, atttypmod)
               from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped
              order by attnum) as types,
       -- only of these types, equal values have the same text in every session
       array(select attname::text
               from pg_attribute
               left join pg_collation l on l.oid = attcollation
              where attrelid = c.oid and attnum > 0 and not attisdropped
                and (atttypid <> all ('{int2,int4,int8,uuid,bool,text,varchar}'::regtype[])
                     or not coalesce(l.collisdeterministic, true))) as loose,
       array(select attname::text
               from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped and attlen < 0) as unbounded,
       array(select attname::text
               from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = 'v') as virtual
  from tree
  join pg_class c on c.oid = tree.oid
  join pg_namespace n on n.oid = c.relnamespace
 order by is_named desc, n.nspname, c.relname
