-- Triggers that run functions of Neverstale, with the function's comment, which holds a digest, its source, and whether its
-- settings are those that were installed (is_fixed). Temporary tables are left out.
select n.nspname as schema, c.relname as table, t.tgname as name, t.tgenabled = 'A' as always,
       coalesce(obj_description(t.tgfoid, 'pg_proc'), '') as comment,
       p.prosecdef and p.proconfig[1:2] = array['search_path=pg_catalog, pg_temp', 'row_security=off'] as is_fixed, p.prosrc as source
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_proc p on p.oid = t.tgfoid
 where p.pronamespace = 'neverstale'::regnamespace
   and n.nspname <> 'neverstale'
   and t.tgparentid = 0
   and c.relpersistence <> 't'
