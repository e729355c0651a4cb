-- Replacing a function locks no table, and what calls it from now on finds it empty. The digest in the comment
-- goes with it, so that install finds each of them changed.
do $neverstale$
declare
  capture regprocedure;
begin
  for capture in
    select distinct t.tgfoid::regprocedure
      from pg_trigger t
      join pg_proc p on p.oid = t.tgfoid
     where p.pronamespace = 'neverstale'::regnamespace and t.tgname <> 'neverstale_wake'
  loop
    execute format('create or replace function %s returns trigger language plpgsql as '
                   '$disabled$begin return null; end$disabled$', capture);
    execute format('comment on function %s is %L', capture, 'neverstale disabled');
  end loop;
  if to_regprocedure('neverstale.settings()') is null then
    update neverstale.installation set disabled = true; -- until version 4 it was a table
  else
    execute replace(pg_get_functiondef('neverstale.settings()'::regprocedure), ', false', ', true');
  end if;
end
$neverstale$;
