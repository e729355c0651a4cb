update users set last_active_at = now(), updated_at = now() where id = 1
update users set avatar_upload_id = 2 where id = 1
update users set name = 'Ines M.' where id = 1
update organizations set projects_count = projects_count + 1, updated_at = now() where id = 1
update organizations set default_project_id = 1 where id = 1
insert into organization_memberships (organization_id, user_id) values (1, 3)
delete from organization_memberships where organization_id = 1 and user_id = 3
insert into projects (organization_id, creator_id, name, identifier) values (1, 1, 'Pier', 'PIR')
update projects set issues_count = issues_count + 1 where id = 1
update projects set deleted_at = now() where identifier = 'PIR'
insert into issues (project_id, author_id, number, title) values (1, 1, 3, 'Oil the winch')
update issues set title = 'Oil both winches', lock_version = 1 where number = 3
update issues set milestone_id = 1 where project_id = 1
update issues set milestone_id = null where project_id = 1
update issues set deleted_at = now() where number = 3
insert into issues_labels values (1, 1), (1, 2)
delete from issues_labels where issue_id = 1
insert into uploads (project_id, filename, byte_size) values (null, 'bo.png', 10)
update uploads set project_id = 1 where filename = 'bo.png'
insert into labels (project_id, name) values (null, 'wontfix')
update labels set color = '#ff0000'
insert into label_rules (label_id, pattern) values (2, 'panic')
update label_rules set pattern = 'abort'
insert into time_entries (issue_id, user_id, minutes, spent_on) values (1, 1, 30, '2026-03-02')
update board_cards set position = 2, board_column_id = 2
insert into board_cards (board_column_id, position) values (1, 1)
insert into comments (commentable_type, commentable_id, user_id, body) values ('Issue', 1, 1, 'Fixed')
update issues set comments_count = comments_count + 1 where id = 1
insert into notifications (user_id, kind) values (3, 'welcome')
update notifications set read_at = now()
update sessions set last_seen_at = now()
delete from sessions
