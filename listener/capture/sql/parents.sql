-- $1: a view of an expression over a watched table.  $2: that table.  $3: those below it in its tree.
-- -> each table that the view reads, with the columns that it reads there, and whether foreign keys keep the rows of the
-- watched table from being without the row that they look up (is_bound): each column of theirs that the expression reads is
-- part of one, and one leads to the table, from them or from another table that is read.
with recursive reached (classid, objid, number) as (
    select d.refclassid, d.refobjid, d.refobjsubid
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
     where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
    union
    select d.refclassid, d.refobjid, d.refobjsubid
      from reached
      join pg_class c on reached.classid = 'pg_class'::regclass and c.oid = reached.objid and c.relkind = 'v'
      join pg_rewrite r on r.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> c.oid
), tables as (
    select c.oid, array_agg(number) filter (where number > 0) as numbers
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
