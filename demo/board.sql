-- More to look at: people, and a board with something in every column.
insert into users (id, name) values
    ('0000a1a0-0000-4000-8000-000000000003', 'Alan'),
    ('0000ca70-0000-4000-8000-000000000004', 'Katherine')
on conflict do nothing;

insert into project_members (project_id, user_id) values
    ('a9011000-0000-4000-8000-000000000001', '0000ca70-0000-4000-8000-000000000004')
on conflict do nothing;

insert into sprints (id, project_id, name) values
    ('59000000-0000-4000-8000-000000000002', 'a9011000-0000-4000-8000-000000000001', 'Second stage'),
    ('59000000-0000-4000-8000-000000000003', '9e313100-0000-4000-8000-000000000002', 'Docking')
on conflict do nothing;

insert into tasks (id, project_id, sprint_id, title, status) values
    ('7a500000-0000-4000-8000-000000000003', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000001', 'Check the trajectory by hand', 'doing'),
    ('7a500000-0000-4000-8000-000000000004', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000001', 'Weigh the guidance computer', 'done'),
    ('7a500000-0000-4000-8000-000000000005', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000002', 'Rehearse the 1202 alarm', 'doing'),
    ('7a500000-0000-4000-8000-000000000006', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000002', 'Name the landing site', 'todo'),
    ('7a500000-0000-4000-8000-000000000007', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000001', 'Seal the hatch', 'done'),
    ('7a500000-0000-4000-8000-000000000008', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000002', 'Load 21 kg of moon boxes', 'todo'),
    ('7a500000-0000-4000-8000-000000000009', '9e313100-0000-4000-8000-000000000002',
     '59000000-0000-4000-8000-000000000003', 'Find the other capsule', 'doing')
on conflict do nothing;

insert into messages (id, project_id, user_id, body) values
    ('3e550000-0000-4000-8000-000000000001', 'a9011000-0000-4000-8000-000000000001',
     '0000ace0-0000-4000-8000-000000000002', 'The trajectory agrees to six digits.'),
    ('3e550000-0000-4000-8000-000000000002', 'a9011000-0000-4000-8000-000000000001',
     '0000ada0-0000-4000-8000-000000000001', 'Then check the seventh, please.')
on conflict do nothing;

-- Everybody's name shows in every project, and a user belongs to no project that a watch could name.
create or replace function notify_of_user() returns trigger language plpgsql as $$
begin
    perform neverstale.notify('user', tg_op, projects.id::text, coalesce(new.id, old.id)::text)
    from projects;
    return null;
end
$$;
create or replace trigger notify_of_user after insert or update or delete on users
for each row execute function notify_of_user();
