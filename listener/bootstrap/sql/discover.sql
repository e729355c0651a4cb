-- $1: the schemas in which the app's names are found, in order.
-- Every table that an app may have of its own, with what init has to know of it, as json. Left out: what belongs to
-- PostgreSQL, to Neverstale or to an extension, and what is below another table in its tree.
with tables as (
    select c.oid, n.nspname as schema, c.relname as name
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p')
       and c.relpersistence <> 't'
       and not starts_with(n.nspname, 'pg_')
       and n.nspname not in ('information_schema', 'neverstale')
       and not exists (select from pg_inherits where inhrelid = c.oid)
       and not exists (select from pg_depend
                        where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
)
select t.schema, t.name,
       coalesce(t.schema = (select path.schema
                              from unnest($1::text[]) with ordinality as path (schema, place)
                              join pg_namespace n on n.nspname = path.schema
                              join pg_class c on c.relnamespace = n.oid and c.relname = t.name
                             order by place
                             limit 1), false) as visible,
       -- one level of a domain is enough to tell how its values are spelled
       (select coalesce(json_agg(json_build_array(a.attname, format_type(coalesce(nullif(y.typbasetype, 0), y.oid), null),
                                                  not (a.attnotnull or y.typnotnull)) order by a.attnum), '[]')
          from pg_attribute a
          join pg_type y on y.oid = a.atttypid
         where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
           and a.attgenerated <> 'v')::text as columns, -- no trigger can read a virtual one
       (select coalesce(json_agg(json_build_array(i.indisprimary, k.columns) order by not i.indisprimary, i.indexrelid), '[]')
          from pg_index i
          cross join lateral (select json_agg(a.attname order by p.at) as columns
                                from unnest(i.indkey::int2[]) with ordinality p (attnum, at)
                                join pg_attribute a on a.attrelid = t.oid and a.attnum = p.attnum
                               where p.at <= i.indnkeyatts) k
         where i.indrelid = t.oid and i.indisunique and i.indisvalid
           and i.indpred is null and i.indexprs is null)::text as keys,
       (select coalesce(json_agg(json_build_array(k.columns, n.nspname, c.relname, k.targets,
                                                  f.confdeltype = 'c', f.confdeltype in ('n', 'd')) order by f.conname), '[]')
          from pg_constraint f
          join pg_class c on c.oid = f.confrelid
          join pg_namespace n on n.oid = c.relnamespace
          cross join lateral (select json_agg(a.attname order by p.at) as columns, json_agg(b.attname order by p.at) as targets
                                from unnest(f.conkey, f.confkey) with ordinality p (attnum, target, at)
                                join pg_attribute a on a.attrelid = f.conrelid and a.attnum = p.attnum
                                join pg_attribute b on b.attrelid = f.confrelid and b.attnum = p.target) k
         -- those with a parent are copies, for the partitions of the table that is referred to
         where f.conrelid = t.oid and f.contype = 'f' and f.conparentid = 0)::text as foreign_keys
  from tables t
 order by t.schema, t.name
