-- A support desk behind Hasura: uuid keys with defaults, tables as enums, views, generated columns, updated_at by trigger.
create function set_current_timestamp_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at = now();
  return new;
end
$$;

create table ticket_status (value text primary key, comment text not null);
create table workspace_role (value text primary key, comment text not null);

create table users (
    id uuid primary key default gen_random_uuid(),
    first_name text not null,
    last_name text not null,
    full_name text generated always as (first_name || ' ' || last_name) stored
);

create table workspaces (
    id uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    name text not null,
    owner_id uuid not null references users (id) on update restrict on delete restrict,
    archived boolean not null default false
);

create table workspace_members (
    workspace_id uuid not null references workspaces (id) on update cascade on delete cascade,
    user_id uuid not null references users (id) on update cascade on delete cascade,
    role text not null default 'agent' references workspace_role (value) on update restrict on delete restrict,
    primary key (workspace_id, user_id)
);

create table tickets (
    id uuid primary key default gen_random_uuid(),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    workspace_id uuid not null references workspaces (id) on update cascade on delete cascade,
    status text not null default 'open' references ticket_status (value) on update restrict on delete restrict,
    subject text not null,
    body text not null default '',
    search tsvector generated always as (to_tsvector('simple', subject || ' ' || body)) stored,
    deleted_at timestamptz
);

create table labels (
    id uuid primary key default gen_random_uuid(),
    workspace_id uuid not null references workspaces (id) on update cascade on delete cascade,
    name text not null,
    unique (workspace_id, name)
);

create table ticket_labels (
    ticket_id uuid not null references tickets (id) on update cascade on delete cascade,
    label_id uuid not null references labels (id) on update cascade on delete cascade,
    primary key (ticket_id, label_id)
);

create table replies (
    id uuid primary key default gen_random_uuid(),
    ticket_id uuid not null references tickets (id) on update cascade on delete cascade,
    author_id uuid references users (id) on delete set null,
    body text not null,
    updated_at timestamptz not null default now()
);

create trigger set_public_workspaces_updated_at before update on workspaces
    for each row execute function set_current_timestamp_updated_at();
create trigger set_public_tickets_updated_at before update on tickets
    for each row execute function set_current_timestamp_updated_at();
create trigger set_public_replies_updated_at before update on replies
    for each row execute function set_current_timestamp_updated_at();

create view open_tickets as
    select id, workspace_id, subject, status from tickets where status = 'open' and deleted_at is null with check option;
create materialized view ticket_counts as
    select workspace_id, count(*) as tickets from tickets group by workspace_id;

insert into ticket_status values ('open', 'waits for an answer'), ('solved', 'answered');
insert into workspace_role values ('admin', 'may do everything'), ('agent', 'answers tickets');
insert into users (id, first_name, last_name) values
    ('0a000000-0000-4000-8000-000000000001', 'Ada', 'Example'), ('0a000000-0000-4000-8000-000000000002', 'Grace', 'Example');
insert into workspaces (id, name, owner_id) values
    ('a0000000-0000-4000-8000-000000000001', 'Apollo', '0a000000-0000-4000-8000-000000000001'),
    ('a0000000-0000-4000-8000-000000000002', 'Gemini', '0a000000-0000-4000-8000-000000000002');
insert into workspace_members values
    ('a0000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001', 'agent');
insert into tickets (id, workspace_id, subject) values
    ('70000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001', 'No light'),
    ('70000000-0000-4000-8000-000000000002', 'a0000000-0000-4000-8000-000000000002', 'No sound');
insert into labels (id, workspace_id, name) values
    ('1b000000-0000-4000-8000-000000000001', 'a0000000-0000-4000-8000-000000000001', 'urgent');
