-- Drops trigger functions without triggers (the table was dropped or renamed, or is no longer watched): a leader would
-- report their triggers as missing.
do $neverstale$
declare
  orphan regprocedure;
begin
  for orphan in
    select oid from pg_proc
     where pronamespace = 'neverstale'::regnamespace and prorettype = 'trigger'::regtype
       and oid not in (select tgfoid from pg_trigger)
  loop
    execute format('drop function %s', orphan);
  end loop;
end
$neverstale$;
