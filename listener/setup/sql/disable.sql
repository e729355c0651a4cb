-- Empties the trigger functions, which locks no table. The digests in their comments are removed, so that install finds each
-- function changed.
do $neverstale$
declare
  capture regprocedure;
  settings text;
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
    select format('select %s, %L, %s, true', s.version, s.watches, s.log_max_bytes) into strict settings
      from neverstale.settings() s;
    execute format('create or replace function neverstale.settings(out version integer, out watches text, '
                   'out log_max_bytes bigint, out disabled boolean) returns setof record language sql stable as %L', settings);
  end if;
end
$neverstale$;
