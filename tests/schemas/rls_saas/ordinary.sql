update app.users set last_seen_at = now(), last_tenant_id = 'd0000000-0000-4000-8000-000000000001' where email like 'wim%'
update app.users set full_name = 'Wim' where email like 'wim%'
insert into app.resellers (name, flagship_tenant_id) values ('North', 'd0000000-0000-4000-8000-000000000001')
update app.resellers set flagship_tenant_id = null
insert into app.reseller_users select id, 'd1000000-0000-4000-8000-000000000002' from app.resellers
update app.plans set max_seats = 30 where code = 'team'
insert into app.plan_features values ('team', 'export')
insert into app.tenants (slug, plan_code) values ('bakery', 'solo')
update app.tenants set plan_code = 'solo' where slug = 'glasshouse'
insert into app.memberships (tenant_id, user_id) values ('d0000000-0000-4000-8000-000000000001', 'd1000000-0000-4000-8000-000000000002')
update app.memberships set role = 'admin' where user_id = 'd1000000-0000-4000-8000-000000000002'
insert into app.projects (tenant_id, name) values ('d0000000-0000-4000-8000-000000000001', 'Palm house')
update app.projects set lead_id = 'd1000000-0000-4000-8000-000000000001', budget = 10 where name = 'Palm house'
update app.tasks set assignee_id = 'd1000000-0000-4000-8000-000000000001' where title = 'Order panes'
update app.tasks set title = 'Order 40 panes', updated_at = now() where title = 'Order panes'
update app.tasks set project_id = 2 where title = 'Order putty'
insert into app.tasks (tenant_id, project_id, status_code, title) values ('d0000000-0000-4000-8000-000000000001', 1, 'open', 'Measure')
insert into app.task_dependencies select a.tenant_id, a.id, b.id from app.tasks a, app.tasks b where a.title = 'Measure' and b.title = 'Order putty'
insert into app.comments select tenant_id, id, 1, 'd1000000-0000-4000-8000-000000000001', 'Twice' from app.tasks where title = 'Measure'
update app.comments set body = 'Once'
delete from app.tasks where title = 'Measure'
update app.statuses set is_final = true where code = 'open'
insert into app.file_versions (file_id) values ('d2000000-0000-4000-8000-000000000001')
update app.file_versions set checksum = '\x00'
insert into app.export_jobs (requested_by) values ('d1000000-0000-4000-8000-000000000001')
update app.export_jobs set state = 'done', file_id = 'd2000000-0000-4000-8000-000000000001'
insert into app.api_keys (tenant_id, hint) values ('d0000000-0000-4000-8000-000000000001', 'ab')
update app.api_keys set last_used_at = now()
delete from app.api_keys
