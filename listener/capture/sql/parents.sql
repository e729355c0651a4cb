-- Continues dependencies.sql; the view is of an expression over a watched table. $2: that table. $3: the tables below it in
-- its tree.
-- Returns each table that the view reads, with the columns that it reads there, and whether foreign keys guarantee that
-- each row of the watched table finds the row that it looks up (is_bound): each column of the watched table that the
-- expression reads is part of a foreign key, and a foreign key refers to the returned table, from the watched table or
-- from another table that is read.
, tables as (
    select c.oid, array_agg(distinct number) filter (where number > 0) as numbers
      from reached
      join pg_class c on classid = 'pg_class'::regclass and c.oid = objid and c.relkind in ('r', 'p', 'f', 'm')
     group by c.oid
), keys as (
    select conrelid, confrelid, conkey::int[] as here, confkey::int[] as there
      from pg_constraint k
     where contype = 'f' and convalidated
       and coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) -- new in PostgreSQL 18
), used as (
    select keys.*
      from keys
      join tables child on child.oid = conrelid and here <@ child.numbers
      join tables parent on parent.oid = confrelid and there <@ parent.numbers
), free as (
    select unnest(numbers) as number from tables where oid = $2::regclass
    except
    select unnest(here) from keys where conrelid = $2::regclass
    except
    select unnest(there) from used where conrelid = $2::regclass and confrelid = conrelid -- its own parent
)
select n.nspname as schema, c.relname as name,
       array(select attname::text from pg_attribute where attrelid = c.oid and attnum = any (tables.numbers)) as columns,
       not exists (select from free)
         and exists (select from used
                      where confrelid = c.oid
                        and (conrelid <> $2::regclass
                             or not exists (select from unnest($3::text[]) as below
                                             where not exists (select from keys
                                                                where keys.conrelid = below::regclass
                                                                  and keys.confrelid = c.oid)))) as is_bound
  from tables
  join pg_class c on c.oid = tables.oid
  join pg_namespace n on n.oid = c.relnamespace
