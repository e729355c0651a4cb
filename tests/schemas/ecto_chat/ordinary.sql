update users set display_name = 'Mara', updated_at = now() where email = 'mara@example.org'
update users set avatar_file_id = 'c3000000-0000-4000-8000-000000000001'
update users set last_workspace_id = 'c2000000-0000-4000-8000-000000000001'
insert into users_tokens values (gen_random_uuid(), 'c0000000-0000-4000-8000-000000000001', 'x', 'session')
update plans set seats = 20
update workspaces set icon_file_id = 'c3000000-0000-4000-8000-000000000001' where slug = 'lighthouse'
insert into memberships (id, workspace_id, user_id) values (gen_random_uuid(), 'c2000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000002')
update memberships set role = 'admin' where role = 'member'
insert into channels (id, workspace_id, name) values ('c4000000-0000-4000-8000-000000000002', 'c2000000-0000-4000-8000-000000000001', 'random')
update channels set topic = 'Anything' where name = 'random'
insert into channel_members values ('c4000000-0000-4000-8000-000000000002', 'c0000000-0000-4000-8000-000000000001')
insert into messages (id, channel_id, user_id, body) select gen_random_uuid(), 'c4000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'x' from generate_series(1, 5)
insert into messages (id, channel_id, thread_root_id, body) values ('c5000000-0000-4000-8000-000000000002', 'c4000000-0000-4000-8000-000000000001', 'c5000000-0000-4000-8000-000000000001', 'a reply of the bot')
update messages set body = 'edited', edited_at = now() where thread_root_id is not null
update channel_members set last_read_message_id = 'c5000000-0000-4000-8000-000000000001'
update channel_members set last_read_message_id = null
insert into reactions values ('c5000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'wave')
delete from reactions
insert into message_attachments values (gen_random_uuid(), 'c5000000-0000-4000-8000-000000000001', 'c3000000-0000-4000-8000-000000000001')
insert into pins values ('c4000000-0000-4000-8000-000000000001', 'c5000000-0000-4000-8000-000000000001', null)
insert into calls (id, host_id) values ('c6000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001')
insert into call_participants values ('c6000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000002')
update calls set ended_at = now()
insert into invites (id, workspace_id, email) values (gen_random_uuid(), 'c2000000-0000-4000-8000-000000000001', 'new@example.org')
insert into integrations (id, workspace_id, kind) values ('c7000000-0000-4000-8000-000000000001', 'c2000000-0000-4000-8000-000000000001', 'calendar')
insert into webhooks values (gen_random_uuid(), 'c7000000-0000-4000-8000-000000000001', 'https://example.org/hook')
update webhooks set last_delivery_at = now()
insert into oban_jobs (worker) values ('Mailer')
delete from oban_jobs
delete from messages where id = 'c5000000-0000-4000-8000-000000000002'
