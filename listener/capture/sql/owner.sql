-- Gives the trigger functions of watched tables to a role, and the role what they need: to write the change log, and
-- nothing else. Our other functions run no code of others, and stay with who installs.
do $neverstale$
declare
  owner constant regrole := {owner}::regrole;
  function regprocedure;
begin
  if not has_table_privilege(owner, 'neverstale.moved', 'insert') then
    execute format('grant usage on schema neverstale to %s', owner);
    execute format('grant insert on neverstale.change_log, neverstale.moved to %s', owner);
    execute format('grant usage on sequence neverstale.skips to %s', owner);
  end if;
  for function in
    select oid from pg_proc
     where pronamespace = 'neverstale'::regnamespace and proowner <> owner
       and prorettype = 'trigger'::regtype and proname <> 'wake'
  loop
    execute format('grant create on schema neverstale to %s', owner); -- only a change of owners needs it
    execute format('alter function %s owner to %s', function, owner);
    execute format('revoke create on schema neverstale from %s', owner);
  end loop;
end
$neverstale$;
