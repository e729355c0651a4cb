-- Gives our functions to a role, and the role what they need: to write the change log, and nothing else.
do $neverstale$
declare
  owner constant regrole := {owner}::regrole;
  function regprocedure;
begin
  if not exists (select from pg_proc where pronamespace = 'neverstale'::regnamespace and proowner <> owner) then
    return;
  end if;
  execute format('grant usage, create on schema neverstale to %s', owner);
  execute format('grant insert on neverstale.change_log, neverstale.moved to %s', owner);
  execute format('grant usage on sequence neverstale.skips to %s', owner);
  execute format('grant update on neverstale.leader to %s', owner);
  for function in
    select oid from pg_proc where pronamespace = 'neverstale'::regnamespace and proowner <> owner
  loop
    execute format('alter function %s owner to %s', function, owner);
  end loop;
  execute format('revoke create on schema neverstale from %s', owner); -- only a change of owners needs it
end
$neverstale$;
