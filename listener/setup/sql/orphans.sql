-- Functions whose triggers are gone (the table was dropped, renamed or is watched no more): a leader would miss them.
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
