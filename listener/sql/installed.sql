-- $1: the prefix of our triggers' names -> those that there are, with the comment that holds their digest.
select n.nspname as schema, c.relname as table, t.tgname as name, t.tgenabled = 'A' as always,
       coalesce(obj_description(t.tgfoid, 'pg_proc'), '') as comment
  from pg_trigger t
  join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_proc p on p.oid = t.tgfoid
 where p.pronamespace = 'neverstale'::regnamespace
   and n.nspname <> 'neverstale'
   and t.tgparentid = 0
   and starts_with(t.tgname, $1)
