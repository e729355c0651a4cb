-- A build service in Go: SQL by hand, text ids with a prefix, explicit foreign keys, migrations by goose.
create table users (
    id text primary key,
    email text not null unique,
    created_at timestamptz not null default now()
);

create table projects (
    id text primary key check (id ~ '^prj_'),
    owner_id text not null references users (id),
    name text not null,
    archived_at timestamptz,
    created_at timestamptz not null default now()
);

create table project_members (
    project_id text not null references projects (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    role text not null default 'viewer' check (role in ('admin', 'developer', 'viewer')),
    primary key (project_id, user_id)
);

create table environments (
    id uuid primary key default gen_random_uuid(),
    project_id text not null references projects (id) on delete cascade,
    name text not null,
    url text,
    unique (project_id, name)
);

create table builds (
    id text primary key,
    project_id text not null references projects (id) on delete cascade,
    environment_id uuid references environments (id) on delete set null,
    commit_message text not null default '',
    status text not null default 'queued' check (status in ('queued', 'running', 'passed', 'failed')),
    deleted_at timestamptz,
    created_at timestamptz not null default now()
);
create index builds_project_id_idx on builds (project_id) where deleted_at is null;

create table build_steps (
    build_id text not null references builds (id) on delete cascade,
    position integer not null,
    name text not null,
    log_excerpt text,
    primary key (build_id, position)
);

create table artifacts (
    id text primary key,
    project_id text not null references projects (id) on delete cascade,
    build_id text not null references builds (id) on delete cascade,
    path text not null,
    size_bytes bigint not null default 0
);

create table webhook_deliveries (
    id bigserial primary key,
    project_id text not null,
    payload jsonb not null default '{}'
);

create table api_keys (
    id text primary key,
    user_id text not null references users (id) on delete cascade,
    key_hash bytea not null
);

create table goose_db_version (
    id serial primary key,
    version_id bigint not null,
    is_applied boolean not null,
    tstamp timestamptz not null default now()
);

insert into users (id, email) values
    ('usr_ada', 'ada@example.test'), ('usr_grace', 'grace@example.test'), ('usr_lin', 'lin@example.test');
insert into projects (id, owner_id, name) values
    ('prj_apollo', 'usr_ada', 'Apollo'), ('prj_gemini', 'usr_grace', 'Gemini'), ('prj_old', 'usr_lin', 'Old');
insert into project_members values ('prj_gemini', 'usr_ada', 'developer'), ('prj_old', 'usr_ada', 'viewer');
insert into environments (id, project_id, name) values ('e0000000-0000-4000-8000-000000000001', 'prj_apollo', 'staging');
insert into builds (id, project_id) values ('b1', 'prj_apollo'), ('b2', 'prj_apollo'), ('b3', 'prj_gemini');
insert into build_steps (build_id, position, name) values ('b1', 1, 'checkout'), ('b3', 1, 'checkout');
insert into artifacts (id, project_id, build_id, path) values
    ('a1', 'prj_apollo', 'b2', 'dist/app'), ('a2', 'prj_apollo', 'b2', 'dist/app.sig');
insert into goose_db_version (version_id, is_applied) values (0, true);
