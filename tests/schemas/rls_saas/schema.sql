-- A multi-tenant service with row level security: every key starts with the tenant, ids are uuids behind domains or
-- numbers of an identity, and some columns are generated.
create schema app;
create domain app.tenant_id as uuid not null;
create domain app.email as text check (value ~ '@');
create domain app.money_amount as numeric(14, 2) check (value >= 0);

create table app.resellers (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    flagship_tenant_id uuid);
create table app.plans (code text primary key, max_seats integer not null);
create table app.tenants (
    id app.tenant_id primary key default gen_random_uuid(),
    slug text not null unique,
    reseller_id uuid references app.resellers,
    plan_code text not null references app.plans,
    suspended_at timestamptz);
alter table app.resellers add foreign key (flagship_tenant_id) references app.tenants;
create table app.users (
    id uuid primary key default gen_random_uuid(),
    email app.email not null unique,
    full_name text,
    last_tenant_id uuid references app.tenants on delete set null,
    last_seen_at timestamptz);
create table app.memberships (
    tenant_id app.tenant_id references app.tenants on delete cascade,
    user_id uuid not null references app.users on delete cascade,
    role text not null default 'member',
    joined_at timestamptz not null default now(),
    primary key (tenant_id, user_id));

create table app.projects (
    tenant_id app.tenant_id references app.tenants on delete cascade,
    id bigint generated always as identity,
    name text not null,
    lead_id uuid,
    budget app.money_amount not null default 0,
    search tsvector generated always as (to_tsvector('simple', name)) stored,
    primary key (tenant_id, id),
    foreign key (tenant_id, lead_id) references app.memberships);
create table app.statuses (
    tenant_id app.tenant_id references app.tenants on delete cascade,
    code text not null,
    is_final boolean not null default false,
    primary key (tenant_id, code));
create table app.tasks (
    tenant_id app.tenant_id,
    id bigint generated always as identity,
    project_id bigint not null,
    parent_id bigint,
    assignee_id uuid,
    status_code text not null,
    title text not null,
    title_length integer generated always as (length(title)) stored,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, project_id) references app.projects on delete cascade,
    foreign key (tenant_id, parent_id) references app.tasks on delete cascade,
    foreign key (tenant_id, assignee_id) references app.memberships,
    foreign key (tenant_id, status_code) references app.statuses);
create table app.task_dependencies (
    tenant_id app.tenant_id,
    task_id bigint not null,
    depends_on_id bigint not null,
    primary key (tenant_id, task_id, depends_on_id),
    foreign key (tenant_id, task_id) references app.tasks on delete cascade,
    foreign key (tenant_id, depends_on_id) references app.tasks on delete cascade);
create table app.comments (
    tenant_id app.tenant_id,
    task_id bigint not null,
    no integer not null,
    author_id uuid not null references app.users,
    body text not null,
    primary key (tenant_id, task_id, no),
    foreign key (tenant_id, task_id) references app.tasks on delete cascade);
-- The key of the tenant is not repeated here, and a comment may have no file.
create table app.files (
    id uuid primary key default gen_random_uuid(),
    tenant_id app.tenant_id references app.tenants on delete cascade,
    size bigint not null);
create table app.file_versions (
    file_id uuid not null references app.files on delete cascade,
    version integer generated always as identity,
    checksum bytea,
    primary key (file_id, version));
create table app.export_jobs (
    id bigint generated always as identity primary key,
    requested_by uuid not null references app.users on delete cascade,
    file_id uuid references app.files on delete set null,
    state text not null default 'queued');
create table app.api_keys (
    id uuid primary key default gen_random_uuid(),
    tenant_id app.tenant_id references app.tenants on delete cascade,
    hint text not null,
    last_used_at timestamptz);
create table app.plan_features (
    plan_code text not null references app.plans,
    feature text not null,
    primary key (plan_code, feature));
create table app.reseller_users (
    reseller_id uuid not null references app.resellers on delete cascade,
    user_id uuid not null references app.users on delete cascade,
    primary key (reseller_id, user_id));

do $$
declare name text;
begin
    foreach name in array array['memberships', 'projects', 'statuses', 'tasks', 'task_dependencies', 'comments', 'files', 'api_keys']
    loop
        execute format('alter table app.%I enable row level security', name);
        execute format(
            'create policy own_tenant on app.%I using (tenant_id = nullif(current_setting(''app.tenant'', true), '''')::uuid)', name);
    end loop;
end $$;

insert into app.plans values ('team', 25), ('solo', 1);
insert into app.tenants (id, slug, plan_code) values
    ('d0000000-0000-4000-8000-000000000001', 'glasshouse', 'team'),
    ('d0000000-0000-4000-8000-000000000002', 'tannery', 'solo');
insert into app.users (id, email) values
    ('d1000000-0000-4000-8000-000000000001', 'wim@example.org'),
    ('d1000000-0000-4000-8000-000000000002', 'ayo@example.org');
insert into app.memberships (tenant_id, user_id, role) values
    ('d0000000-0000-4000-8000-000000000001', 'd1000000-0000-4000-8000-000000000001', 'owner'),
    ('d0000000-0000-4000-8000-000000000002', 'd1000000-0000-4000-8000-000000000002', 'owner');
insert into app.projects (tenant_id, name) values ('d0000000-0000-4000-8000-000000000001', 'Orangery');
insert into app.statuses (tenant_id, code) values ('d0000000-0000-4000-8000-000000000001', 'open');
insert into app.tasks (tenant_id, project_id, status_code, title) values
    ('d0000000-0000-4000-8000-000000000001', 1, 'open', 'Order panes'),
    ('d0000000-0000-4000-8000-000000000001', 1, 'open', 'Order putty');
insert into app.files (id, tenant_id, size) values
    ('d2000000-0000-4000-8000-000000000001', 'd0000000-0000-4000-8000-000000000001', 10);

-- The role of the app: policies hold for it.
do $$
begin
    if not exists (select from pg_roles where rolname = 'app_role') then
        create role app_role;
    end if;
end $$;
grant usage on schema app to app_role;
grant select, insert, update, delete on all tables in schema app to app_role;
