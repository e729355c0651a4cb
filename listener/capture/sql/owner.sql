-- Gives the trigger functions of watched tables to the role that the setting neverstale.function_owner names, and the role
-- the rights that they need: to write the change log, and nothing else. Other functions of Neverstale run no code of the
-- tables' owners, and keep their owner.
do $neverstale$
declare
  owner constant regrole := current_setting('neverstale.function_owner')::regrole;
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
