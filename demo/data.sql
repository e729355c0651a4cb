-- A little to look at: Ada owns Apollo, Grace is a member of it; Gemini is Grace's alone.
insert into users (id, name) values
    ('0000ada0-0000-4000-8000-000000000001', 'Ada'),
    ('0000ace0-0000-4000-8000-000000000002', 'Grace')
on conflict do nothing;

insert into projects (id, owner_id, name) values
    ('a9011000-0000-4000-8000-000000000001', '0000ada0-0000-4000-8000-000000000001', 'Apollo'),
    ('9e313100-0000-4000-8000-000000000002', '0000ace0-0000-4000-8000-000000000002', 'Gemini')
on conflict do nothing;

insert into project_members (project_id, user_id) values
    ('a9011000-0000-4000-8000-000000000001', '0000ace0-0000-4000-8000-000000000002')
on conflict do nothing;

insert into sprints (id, project_id, name) values
    ('59000000-0000-4000-8000-000000000001', 'a9011000-0000-4000-8000-000000000001', 'First stage')
on conflict do nothing;

insert into tasks (id, project_id, sprint_id, title) values
    ('7a500000-0000-4000-8000-000000000001', 'a9011000-0000-4000-8000-000000000001',
     '59000000-0000-4000-8000-000000000001', 'Fuel the rocket'),
    ('7a500000-0000-4000-8000-000000000002', 'a9011000-0000-4000-8000-000000000001', null, 'Pack lunch')
on conflict do nothing;
