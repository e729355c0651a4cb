update auth_user set last_login = now() where username = 'lotte'
insert into auth_user_groups (user_id, group_id) select 1, id from auth_group
update accounts_profile set default_workspace_id = 1 where user_id = 1
update accounts_profile set timezone = 'Europe/Oslo'
insert into django_session values ('k', 'v', now())
delete from django_session
insert into django_admin_log (object_id, object_repr, content_type_id, user_id) values ('1', 'x', 1, 1)
update billing_plan set monthly_price = 10 where name = 'Small'
update crm_workspace set plan_id = 2 where id = 1
insert into crm_workspace_members (workspace_id, user_id) values (1, 3)
delete from crm_workspace_members where user_id = 3
insert into crm_company (workspace_id, name) values (1, 'Cargo West')
update crm_company set name = 'Cargo East', modified = now() where name = 'Cargo West'
insert into crm_contact (workspace_id, full_name) values (1, 'Rune')
update crm_contact set company_id = 1 where full_name = 'Rune'
update crm_contact set company_id = null where full_name = 'Rune'
insert into crm_contact_tags (contact_id, tag_id) values (1, 1)
insert into crm_deal (stage_id, title) values (1, 'Two locks')
update crm_deal set stage_id = 2, closed_at = now() where title = 'Two locks'
update crm_deal set assigned_to_id = 2, company_id = null
insert into crm_deal_contacts (deal_id, contact_id) values (1, 1)
insert into crm_email (subject) values ('Hello')
update crm_email set contact_id = 1
insert into crm_note (content_type_id, object_id, author_id, body) values (2, 1, 1, 'Call back')
insert into billing_invoice (customer_id, number) values (1, '2026-2')
update billing_invoice set total = 9 where number = '2026-2'
insert into billing_invoiceline (invoice_id, description, amount) values (1, 'Small', 9)
insert into billing_payment (amount, received_on) values (9, '2026-02-01')
update billing_payment set invoice_id = 1
update billing_subscription set status = 'past_due'
insert into billing_coupon (code) values ('SPRING')
delete from crm_deal_contacts
