-- $1: a table's name, qualified and quoted as in SQL -> how the catalog has it.
select n.nspname as schema, c.relname as name, c.relkind::text, c.relispartition,
       array(select attname::text
               from pg_attribute
              where attrelid = c.oid and attnum > 0 and not attisdropped
              order by attnum) as columns
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.oid = to_regclass($1)
