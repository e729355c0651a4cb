-- A large installation: an ERP of many modules, each with a schema, more than a hundred tables. Reference data belongs to
-- no tenant; most tables find theirs through one to four parents.

create schema ref;
create table ref.currencies (code text primary key, name text not null);
create table ref.countries (
    code text primary key, name text not null, default_currency text references ref.currencies);
create table ref.languages (code text primary key, name text not null);
create table ref.units (code text primary key, kind text not null);
create table ref.timezones (name text primary key, offset_minutes integer not null);
create table ref.tax_kinds (code text primary key, name text not null);
create table ref.holidays (
    id uuid primary key default gen_random_uuid(), country text not null references ref.countries,
    day date not null, name text not null);
create table ref.exchange_rates (
    id uuid primary key default gen_random_uuid(), currency text not null references ref.currencies,
    day date not null, rate numeric not null);

create schema core;
create table core.plans (
    id uuid primary key default gen_random_uuid(), name text not null, monthly_price numeric not null);
create table core.plan_limits (
    id uuid primary key default gen_random_uuid(), plan_id uuid not null references core.plans, name text not null,
    value bigint not null);
create table core.tenants (
    id uuid primary key default gen_random_uuid(), plan_id uuid not null references core.plans,
    country text references ref.countries, logo_asset_id uuid, name text not null,
    created_at timestamptz not null default now());
create table core.tenant_settings (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    key text not null, value jsonb);
create table core.assets (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    path text not null, size bigint not null default 0);
create table core.asset_renditions (
    id uuid primary key default gen_random_uuid(), asset_id uuid not null references core.assets,
    width integer not null, path text not null);
create table core.sites (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    country text not null references ref.countries, name text not null);
create table core.site_hours (
    id uuid primary key default gen_random_uuid(), site_id uuid not null references core.sites,
    weekday integer not null, opens time, closes time);
create table core.custom_fields (
    id uuid primary key default gen_random_uuid(), tenant_id uuid references core.tenants, entity text not null,
    label text not null);
create table core.custom_field_options (
    id uuid primary key default gen_random_uuid(), custom_field_id uuid not null references core.custom_fields,
    label text not null);
create table core.number_ranges (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    prefix text not null, next_value bigint not null default 1);
create table core.feature_flags (key text primary key, enabled boolean not null default false);

create schema identity;
create table identity.users (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    site_id uuid references core.sites, avatar_asset_id uuid references core.assets, email text not null,
    last_active_at timestamptz);
create table identity.roles (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table identity.role_permissions (
    id uuid primary key default gen_random_uuid(), role_id uuid not null references identity.roles,
    permission text not null);
create table identity.user_roles (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references identity.users,
    role_id uuid not null references identity.roles);
create table identity.api_tokens (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references identity.users,
    digest text not null, last_used_at timestamptz);
create table identity.login_attempts (
    id uuid primary key default gen_random_uuid(), email text not null, succeeded boolean not null,
    at timestamptz not null default now());
create table identity.preferences (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references identity.users,
    key text not null, value text);
create table identity.devices (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references identity.users,
    kind text not null, last_seen_at timestamptz);

create schema hr;
create table hr.departments (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    parent_id uuid references hr.departments, manager_id uuid references identity.users, name text not null);
create table hr.teams (
    id uuid primary key default gen_random_uuid(), department_id uuid not null references hr.departments,
    name text not null);
create table hr.employees (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    user_id uuid references identity.users, department_id uuid references hr.departments, number text not null,
    hired_on date);
create table hr.contracts (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    starts_on date not null, ends_on date);
create table hr.salaries (
    id uuid primary key default gen_random_uuid(), contract_id uuid not null references hr.contracts,
    currency text not null references ref.currencies, amount numeric not null);
create table hr.absences (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    kind text not null, starts_on date not null, ends_on date not null);
create table hr.timesheets (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    week date not null, approved_at timestamptz);
create table hr.timesheet_lines (
    id uuid primary key default gen_random_uuid(), timesheet_id uuid not null references hr.timesheets,
    minutes integer not null, note text);
create table hr.skills (id uuid primary key default gen_random_uuid(), name text not null);
create table hr.employee_skills (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    skill_id uuid not null references hr.skills, level integer not null default 1);
create table hr.team_members (
    id uuid primary key default gen_random_uuid(), team_id uuid not null references hr.teams,
    employee_id uuid not null references hr.employees);
create table hr.reviews (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    reviewer_id uuid not null references identity.users, score integer);
create table hr.trainings (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    title text not null);
create table hr.training_attendances (
    id uuid primary key default gen_random_uuid(), training_id uuid not null references hr.trainings,
    employee_id uuid not null references hr.employees, passed boolean);

create schema catalog;
create table catalog.categories (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    parent_id uuid references catalog.categories, name text not null);
create table catalog.brands (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table catalog.products (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    category_id uuid references catalog.categories, brand_id uuid references catalog.brands, sku text not null,
    name text not null, updated_at timestamptz not null default now());
create table catalog.product_images (
    id uuid primary key default gen_random_uuid(), product_id uuid not null references catalog.products,
    asset_id uuid not null references core.assets, position integer not null default 0);
create table catalog.product_texts (
    id uuid primary key default gen_random_uuid(), product_id uuid not null references catalog.products,
    language text not null references ref.languages, body text not null);
create table catalog.variants (
    id uuid primary key default gen_random_uuid(), product_id uuid not null references catalog.products,
    unit text not null references ref.units, name text not null);
create table catalog.variant_barcodes (
    id uuid primary key default gen_random_uuid(), variant_id uuid not null references catalog.variants,
    barcode text not null);
create table catalog.price_lists (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    currency text not null references ref.currencies, name text not null);
create table catalog.prices (
    id uuid primary key default gen_random_uuid(), price_list_id uuid not null references catalog.price_lists,
    variant_id uuid not null references catalog.variants, amount numeric not null);
create table catalog.bundles (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table catalog.bundle_items (
    id uuid primary key default gen_random_uuid(), bundle_id uuid not null references catalog.bundles,
    variant_id uuid not null references catalog.variants, quantity integer not null default 1);
create table catalog.discounts (
    id uuid primary key default gen_random_uuid(), price_list_id uuid references catalog.price_lists,
    product_id uuid references catalog.products, percent numeric not null);
create table catalog.attributes (id uuid primary key default gen_random_uuid(), name text not null);
create table catalog.product_attributes (
    id uuid primary key default gen_random_uuid(), product_id uuid not null references catalog.products,
    attribute_id uuid not null references catalog.attributes, value text);

create schema sales;
create table sales.customers (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    price_list_id uuid references catalog.price_lists, name text not null);
create table sales.contacts (
    id uuid primary key default gen_random_uuid(), customer_id uuid not null references sales.customers,
    name text not null, email text);
create table sales.addresses (
    id uuid primary key default gen_random_uuid(), customer_id uuid not null references sales.customers,
    country text not null references ref.countries, line text not null);
create table sales.leads (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    owner_id uuid references identity.users, customer_id uuid references sales.customers, title text not null);
create table sales.lead_events (
    id uuid primary key default gen_random_uuid(), lead_id uuid not null references sales.leads, kind text not null,
    at timestamptz not null default now());
create table sales.quotes (
    id uuid primary key default gen_random_uuid(), customer_id uuid not null references sales.customers,
    lead_id uuid references sales.leads, number text not null, valid_until date);
create table sales.quote_lines (
    id uuid primary key default gen_random_uuid(), quote_id uuid not null references sales.quotes,
    variant_id uuid not null references catalog.variants, quantity integer not null, price numeric not null);
create table sales.orders (
    id uuid primary key default gen_random_uuid(), customer_id uuid not null references sales.customers,
    quote_id uuid references sales.quotes, shipping_address_id uuid references sales.addresses,
    number text not null, placed_at timestamptz not null default now());
create table sales.order_lines (
    id uuid primary key default gen_random_uuid(), order_id uuid not null references sales.orders,
    variant_id uuid not null references catalog.variants, quantity integer not null, price numeric not null);
create table sales.order_notes (
    id uuid primary key default gen_random_uuid(), order_id uuid not null references sales.orders,
    author_id uuid references identity.users, body text not null);
create table sales.returns (
    id uuid primary key default gen_random_uuid(), order_id uuid not null references sales.orders,
    reason text not null);
create table sales.return_lines (
    id uuid primary key default gen_random_uuid(), return_id uuid not null references sales.returns,
    order_line_id uuid not null references sales.order_lines, quantity integer not null);
create table sales.carts (
    id uuid primary key default gen_random_uuid(), customer_id uuid references sales.customers,
    session text not null, updated_at timestamptz not null default now());
create table sales.cart_items (
    id uuid primary key default gen_random_uuid(), cart_id uuid not null references sales.carts,
    variant_id uuid references catalog.variants, quantity integer not null default 1);
create table sales.commissions (
    id uuid primary key default gen_random_uuid(), employee_id uuid not null references hr.employees,
    order_id uuid not null references sales.orders, amount numeric not null);
create table sales.coupons (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    code text not null);
create table sales.coupon_uses (
    id uuid primary key default gen_random_uuid(), coupon_id uuid not null references sales.coupons,
    order_id uuid not null references sales.orders);

create schema procurement;
create table procurement.suppliers (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table procurement.supplier_contacts (
    id uuid primary key default gen_random_uuid(), supplier_id uuid not null references procurement.suppliers,
    name text not null);
create table procurement.supplier_products (
    id uuid primary key default gen_random_uuid(), supplier_id uuid not null references procurement.suppliers,
    variant_id uuid not null references catalog.variants, cost numeric not null);
create table procurement.purchase_orders (
    id uuid primary key default gen_random_uuid(), supplier_id uuid not null references procurement.suppliers,
    number text not null, ordered_on date);
create table procurement.purchase_lines (
    id uuid primary key default gen_random_uuid(),
    purchase_order_id uuid not null references procurement.purchase_orders,
    variant_id uuid not null references catalog.variants, quantity integer not null);
create table procurement.receipts (
    id uuid primary key default gen_random_uuid(),
    purchase_order_id uuid not null references procurement.purchase_orders, received_on date not null);
create table procurement.receipt_lines (
    id uuid primary key default gen_random_uuid(), receipt_id uuid not null references procurement.receipts,
    purchase_line_id uuid not null references procurement.purchase_lines, quantity integer not null);
create table procurement.requests (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    requested_by uuid not null references identity.users, body text not null);
create table procurement.request_approvals (
    id uuid primary key default gen_random_uuid(), request_id uuid not null references procurement.requests,
    approver_id uuid not null references identity.users, approved boolean);

create schema inventory;
create table inventory.warehouses (
    id uuid primary key default gen_random_uuid(), site_id uuid not null references core.sites, name text not null);
create table inventory.zones (
    id uuid primary key default gen_random_uuid(), warehouse_id uuid not null references inventory.warehouses,
    code text not null);
create table inventory.bins (
    id uuid primary key default gen_random_uuid(), zone_id uuid not null references inventory.zones,
    code text not null);
create table inventory.stock (
    id uuid primary key default gen_random_uuid(), bin_id uuid not null references inventory.bins,
    variant_id uuid not null references catalog.variants, quantity numeric not null default 0);
create table inventory.movements (
    id uuid primary key default gen_random_uuid(), variant_id uuid not null references catalog.variants,
    from_bin_id uuid references inventory.bins, to_bin_id uuid references inventory.bins, quantity numeric not null,
    at timestamptz not null default now());
create table inventory.counts (
    id uuid primary key default gen_random_uuid(), warehouse_id uuid not null references inventory.warehouses,
    counted_on date not null);
create table inventory.count_lines (
    id uuid primary key default gen_random_uuid(), count_id uuid not null references inventory.counts,
    bin_id uuid not null references inventory.bins, quantity numeric not null);
create table inventory.lots (
    id uuid primary key default gen_random_uuid(), variant_id uuid not null references catalog.variants,
    code text not null, expires_on date);
create table inventory.serials (
    id uuid primary key default gen_random_uuid(), lot_id uuid not null references inventory.lots,
    number text not null);
create table inventory.reservations (
    id uuid primary key default gen_random_uuid(), order_line_id uuid references sales.order_lines,
    bin_id uuid references inventory.bins, quantity numeric not null);

create schema logistics;
create table logistics.carriers (code text primary key, name text not null);
create table logistics.carrier_services (
    id uuid primary key default gen_random_uuid(), carrier text not null references logistics.carriers,
    name text not null);
create table logistics.shipments (
    id uuid primary key default gen_random_uuid(), order_id uuid not null references sales.orders,
    carrier text references logistics.carriers, tracking text, shipped_at timestamptz);
create table logistics.packages (
    id uuid primary key default gen_random_uuid(), shipment_id uuid not null references logistics.shipments,
    weight numeric);
create table logistics.package_lines (
    id uuid primary key default gen_random_uuid(), package_id uuid not null references logistics.packages,
    order_line_id uuid not null references sales.order_lines, quantity integer not null);
create table logistics.tracking_events (
    id uuid primary key default gen_random_uuid(), shipment_id uuid not null references logistics.shipments,
    at timestamptz not null default now(), text text not null);
create table logistics.routes (
    id uuid primary key default gen_random_uuid(), warehouse_id uuid not null references inventory.warehouses,
    name text not null);
create table logistics.vehicles (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    plate text not null);
create table logistics.trips (
    id uuid primary key default gen_random_uuid(), route_id uuid not null references logistics.routes,
    vehicle_id uuid references logistics.vehicles, driver_id uuid references hr.employees, day date not null);

create schema finance;
create table finance.accounts (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    number text not null, name text not null);
create table finance.journals (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table finance.entries (
    id uuid primary key default gen_random_uuid(), journal_id uuid not null references finance.journals,
    booked_on date not null, text text);
create table finance.entry_lines (
    id uuid primary key default gen_random_uuid(), entry_id uuid not null references finance.entries,
    account_id uuid not null references finance.accounts, debit numeric not null default 0,
    credit numeric not null default 0);
create table finance.invoices (
    id uuid primary key default gen_random_uuid(), customer_id uuid not null references sales.customers,
    order_id uuid references sales.orders, number text not null, due_on date);
create table finance.invoice_lines (
    id uuid primary key default gen_random_uuid(), invoice_id uuid not null references finance.invoices,
    tax_kind text not null references ref.tax_kinds, amount numeric not null);
create table finance.payments (
    id uuid primary key default gen_random_uuid(), bank_line_id uuid, invoice_id uuid references finance.invoices,
    amount numeric not null);
create table finance.bank_accounts (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    iban text not null);
create table finance.bank_lines (
    id uuid primary key default gen_random_uuid(), bank_account_id uuid not null references finance.bank_accounts,
    booked_on date not null, amount numeric not null);
create table finance.budgets (
    id uuid primary key default gen_random_uuid(), department_id uuid not null references hr.departments,
    year integer not null, amount numeric not null);
create table finance.tax_rates (
    id uuid primary key default gen_random_uuid(), tax_kind text not null references ref.tax_kinds,
    country text not null references ref.countries, percent numeric not null);
create table finance.dunnings (
    id uuid primary key default gen_random_uuid(), invoice_id uuid not null references finance.invoices,
    level integer not null, sent_at timestamptz);

create schema support;
create table support.queues (
    id uuid primary key default gen_random_uuid(), tenant_id uuid not null references core.tenants,
    name text not null);
create table support.tickets (
    id uuid primary key default gen_random_uuid(), queue_id uuid not null references support.queues,
    customer_id uuid references sales.customers, assignee_id uuid references identity.users, subject text not null);
create table support.messages (
    id uuid primary key default gen_random_uuid(), ticket_id uuid not null references support.tickets,
    author_id uuid references identity.users, body text not null);
create table support.macros (
    id uuid primary key default gen_random_uuid(), tenant_id uuid references core.tenants, title text not null);
create table support.macro_steps (
    id uuid primary key default gen_random_uuid(), macro_id uuid not null references support.macros,
    action text not null);
create table support.ratings (
    id uuid primary key default gen_random_uuid(), ticket_id uuid not null references support.tickets,
    stars integer not null);
create table support.calls (
    id uuid primary key default gen_random_uuid(), ticket_id uuid references support.tickets,
    agent_id uuid not null references identity.users, started_at timestamptz not null default now());

create schema audit;
create table audit.events (
    id uuid primary key default gen_random_uuid(), user_id uuid references identity.users,
    entity_type text not null, entity_id uuid not null, at timestamptz not null default now());
create table audit.exports (
    id uuid primary key default gen_random_uuid(), requested_by uuid not null references identity.users,
    asset_id uuid references core.assets, state text not null);
create table audit.job_runs (
    id uuid primary key default gen_random_uuid(), name text not null, finished_at timestamptz);

alter table finance.payments add foreign key (bank_line_id) references finance.bank_lines;
alter table core.tenants add foreign key (logo_asset_id) references core.assets on delete set null;

insert into ref.currencies values ('EUR', 'Euro'), ('NOK', 'Krone');
insert into ref.countries values ('NO', 'Norway', 'NOK'), ('IE', 'Ireland', 'EUR');
insert into ref.units values ('pc', 'count');
insert into core.plans (id, name, monthly_price) values ('e0000001-0000-4000-8000-000000000001', 'Works', 900);
insert into core.tenants (id, plan_id, name) values ('e0000000-0000-4000-8000-000000000001', 'e0000001-0000-4000-8000-000000000001', 'Fjord Lamps'), ('e0000000-0000-4000-8000-000000000002', 'e0000001-0000-4000-8000-000000000001', 'Peat & Sons');
insert into core.assets (id, tenant_id, path) values ('e0000002-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'logo.svg');
insert into core.sites (id, tenant_id, country, name) values ('e0000003-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'NO', 'Bergen');
insert into identity.users (id, tenant_id, email) values ('e0000004-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'siri@example.org'),
    ('e0000005-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000002', 'nuala@example.org');
insert into catalog.products (id, tenant_id, sku, name) values ('e0000006-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'L1', 'Lantern');
insert into catalog.variants (id, product_id, unit, name) values ('e0000007-0000-4000-8000-000000000001', 'e0000006-0000-4000-8000-000000000001', 'pc', 'green');
insert into sales.customers (id, tenant_id, name) values ('e0000008-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'Inn at the Quay');
insert into sales.orders (id, customer_id, number) values ('e0000009-0000-4000-8000-000000000001', 'e0000008-0000-4000-8000-000000000001', 'O-1');
insert into sales.order_lines (id, order_id, variant_id, quantity, price) values ('e000000a-0000-4000-8000-000000000001', 'e0000009-0000-4000-8000-000000000001', 'e0000007-0000-4000-8000-000000000001', 2, 40);
insert into inventory.warehouses (id, site_id, name) values ('e000000b-0000-4000-8000-000000000001', 'e0000003-0000-4000-8000-000000000001', 'Shed');
insert into inventory.zones (id, warehouse_id, code) values ('e000000c-0000-4000-8000-000000000001', 'e000000b-0000-4000-8000-000000000001', 'A');
insert into inventory.bins (id, zone_id, code) values ('e000000d-0000-4000-8000-000000000001', 'e000000c-0000-4000-8000-000000000001', 'A1');
insert into support.queues (id, tenant_id, name) values ('e000000e-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'Letters');
insert into core.custom_fields (id, tenant_id, entity, label) values ('e000000f-0000-4000-8000-000000000001', null, 'order', 'Colour');
insert into hr.departments (id, tenant_id, name) values ('e0000010-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 'Glass');
insert into hr.employees (id, tenant_id, number) values ('e0000011-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', '7');
insert into finance.invoices (id, customer_id, number) values ('e0000012-0000-4000-8000-000000000001', 'e0000008-0000-4000-8000-000000000001', 'I-1');
