-- Compares our triggers with what `install` has created, which the comments of their functions record: one row.
-- differences: a line for each function that was changed, each trigger that is missing or disabled, and each table below
-- a watched one without triggers. A table that was dropped, or renamed together with its triggers, is no difference.
-- fingerprint: another one after any change of these, even one that was undone (a row in the catalog names the
-- transaction that wrote it), so that no change between two checks is missed.
with functions as materialized (
    select p.oid, p.xmin::text as written, format('neverstale.%I', p.proname) as name,
           split_part(d.description, ' ', 3) as source, -- its digest; then the table
           substr(d.description, 14 + length(split_part(d.description, ' ', 2) || split_part(d.description, ' ', 3)))
             as target,
           p.prosrc, p.prosecdef and p.proconfig[1:2] = array['search_path=pg_catalog, pg_temp', 'row_security=off'] as is_fixed
      from pg_proc p
      left join pg_description d on d.classoid = 'pg_proc'::regclass and d.objoid = p.oid
     where p.pronamespace = 'neverstale'::regnamespace and p.prorettype = 'trigger'::regtype and p.proname <> 'wake'
), triggers as materialized (
    select t.tgfoid as function, t.tgrelid as relation, t.tgenabled::text, t.xmin::text as written,
           format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""')) as target
      from pg_trigger t
      join functions f on f.oid = t.tgfoid
      join pg_class c on c.oid = t.tgrelid
      join pg_namespace n on n.oid = c.relnamespace
     where c.relpersistence <> 't'
), children as materialized (
    select i.inhrelid as child, i.inhparent as parent, i.xmin::text as written
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
     where i.inhparent in (select relation from triggers) and c.relpersistence <> 't'
), encoding (encoding) as (
    select case getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end -- which converts nothing
), differences (difference) as (
    select format('function %s is not what was installed', name)
      from functions, encoding
     where (is_fixed and encode(sha256(convert_to(prosrc, encoding)), 'hex') = source) is not true
    union all
    select format('%s has lost %s of its triggers', f.target, count(*))
      from functions f
      cross join lateral (
        select case when f.target ~ '^"([^"]|"")+"[.]"([^"]|"")+"$' then parse_ident(f.target) end as parts) as named
     where not exists (select from triggers t where t.function = f.oid and t.target = f.target)
       and exists (select
                     from pg_class c
                     join pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = parts[1]::name and c.relname = parts[2]::name)
     group by f.target
    union all
    select format('the trigger that runs %s on %s is not enabled always', f.name, t.target)
      from triggers t join functions f on f.oid = t.function where t.tgenabled <> 'A'
    union all
    select format('%s, below %s, has no triggers', child::regclass, parent::regclass)
      from children where child not in (select relation from triggers)
)
select (select encode(sha256(convert_to(string_agg(line, ' ' order by line), 'UTF8')), 'hex')
          from (select oid || '.' || written from functions
                union all
                select function || '.' || relation || '.' || tgenabled || '.' || written from triggers
                union all
                select child || '-' || parent || '.' || written from children) as every (line)) as fingerprint,
       -- the readable part of a name in another encoding
       array(select regexp_replace(difference, '[^ -~]', '?', 'g') from differences order by 1) as differences
