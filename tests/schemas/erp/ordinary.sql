update identity.users set last_active_at = now() where id = 'e0000004-0000-4000-8000-000000000001'
update identity.users set avatar_asset_id = 'e0000002-0000-4000-8000-000000000001', site_id = 'e0000003-0000-4000-8000-000000000001' where id = 'e0000004-0000-4000-8000-000000000001'
update core.tenants set logo_asset_id = 'e0000002-0000-4000-8000-000000000001' where id = 'e0000000-0000-4000-8000-000000000001'
update core.plans set monthly_price = 950
update ref.currencies set name = 'euro' where code = 'EUR'
update ref.countries set default_currency = 'EUR'
insert into ref.exchange_rates (currency, day, rate) values ('NOK', '2026-01-01', 11.7)
update core.feature_flags set enabled = true
insert into core.custom_fields (tenant_id, entity, label) values (null, 'lead', 'Source')
insert into core.custom_field_options (custom_field_id, label) values ('e000000f-0000-4000-8000-000000000001', 'red')
insert into identity.api_tokens (user_id, digest) values ('e0000004-0000-4000-8000-000000000001', 'x')
insert into identity.login_attempts (email, succeeded) values ('siri@example.org', true)
insert into identity.devices (user_id, kind) values ('e0000004-0000-4000-8000-000000000001', 'phone')
insert into hr.timesheets (employee_id, week) values ('e0000011-0000-4000-8000-000000000001', '2026-01-05')
update hr.employees set department_id = 'e0000010-0000-4000-8000-000000000001', user_id = 'e0000004-0000-4000-8000-000000000001'
insert into finance.budgets (department_id, year, amount) values ('e0000010-0000-4000-8000-000000000001', 2026, 100)
insert into catalog.products (tenant_id, sku, name) values ('e0000000-0000-4000-8000-000000000001', 'L2', 'Torch')
update catalog.products set name = 'Big lantern', updated_at = now() where sku = 'L1'
insert into catalog.discounts (percent) values (10)
update catalog.discounts set product_id = 'e0000006-0000-4000-8000-000000000001'
insert into catalog.variant_barcodes (variant_id, barcode) values ('e0000007-0000-4000-8000-000000000001', '123')
insert into sales.orders (customer_id, number) values ('e0000008-0000-4000-8000-000000000001', 'O-2')
update sales.order_lines set quantity = 3
insert into sales.order_notes (order_id, body) values ('e0000009-0000-4000-8000-000000000001', 'Gift')
insert into sales.carts (session) values ('s1')
update sales.carts set updated_at = now()
insert into sales.cart_items (cart_id) select id from sales.carts
insert into inventory.stock (bin_id, variant_id, quantity) values ('e000000d-0000-4000-8000-000000000001', 'e0000007-0000-4000-8000-000000000001', 9)
update inventory.stock set quantity = quantity - 2
insert into inventory.movements (variant_id, quantity) values ('e0000007-0000-4000-8000-000000000001', 2)
insert into inventory.reservations (quantity) values (1)
insert into logistics.shipments (order_id) values ('e0000009-0000-4000-8000-000000000001')
update logistics.shipments set shipped_at = now()
insert into logistics.tracking_events (shipment_id, text) select id, 'left' from logistics.shipments
insert into finance.invoice_lines (invoice_id, tax_kind, amount) select 'e0000012-0000-4000-8000-000000000001', code, 1 from ref.tax_kinds
insert into finance.payments (amount) values (80)
update finance.payments set invoice_id = 'e0000012-0000-4000-8000-000000000001'
insert into support.tickets (queue_id, subject) values ('e000000e-0000-4000-8000-000000000001', 'A crack')
insert into support.messages (ticket_id, body) select id, 'Hello' from support.tickets
insert into support.macros (title) values ('Thanks')
insert into support.macro_steps (macro_id, action) select id, 'reply' from support.macros
insert into support.calls (agent_id) values ('e0000004-0000-4000-8000-000000000001')
insert into audit.events (entity_type, entity_id) values ('order', 'e0000009-0000-4000-8000-000000000001')
insert into audit.exports (requested_by, state) values ('e0000004-0000-4000-8000-000000000001', 'queued')
insert into audit.job_runs (name) values ('nightly')
