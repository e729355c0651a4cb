-- The demo's project board.
create table if not exists users (
    id uuid primary key default gen_random_uuid(),
    name text not null
);

create table if not exists projects (
    id uuid primary key default gen_random_uuid(),
    owner_id uuid not null references users,
    name text not null
);

create table if not exists project_members (
    project_id uuid not null references projects on delete cascade,
    user_id uuid not null references users on delete cascade,
    role text not null default 'member',
    primary key (project_id, user_id)
);

create table if not exists sprints (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references projects on delete cascade,
    name text not null
);

create table if not exists tasks (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references projects on delete cascade,
    sprint_id uuid references sprints on delete set null,
    title text not null,
    status text not null default 'todo',
    created_at timestamptz not null default clock_timestamp()
);

create table if not exists messages (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references projects on delete cascade,
    user_id uuid not null references users on delete cascade,
    body text not null,
    created_at timestamptz not null default clock_timestamp()
);

-- for databases that an earlier version made
alter table tasks add column if not exists created_at timestamptz not null default clock_timestamp();
alter table messages add column if not exists created_at timestamptz not null default clock_timestamp();

create index if not exists sprints_project on sprints (project_id);
create index if not exists tasks_project on tasks (project_id);
create index if not exists tasks_sprint on tasks (sprint_id);
create index if not exists messages_project on messages (project_id);
create index if not exists project_members_user on project_members (user_id);
