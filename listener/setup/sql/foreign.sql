-- Triggers whose function is not Neverstale's, but sends its NOTIFY.
select t.tgname as trigger, t.tgrelid::regclass::text as table
  from pg_trigger t
  join pg_proc p on p.oid = t.tgfoid
 where p.prosrc ilike '%cache_invalidate%'
   and p.pronamespace <> 'neverstale'::regnamespace
   and not t.tgisinternal
 order by 2, 1
