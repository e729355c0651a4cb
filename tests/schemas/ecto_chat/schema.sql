-- A team messenger in the conventions of Phoenix and Ecto: binary ids, inserted_at, what happens to a row when its
-- parent goes written down, tables of the framework's generators and job queue.
create table schema_migrations (version bigint primary key, inserted_at timestamp(0));

create table users (
    id uuid primary key,
    email varchar(160) not null,
    display_name varchar(255),
    avatar_file_id uuid,
    last_workspace_id uuid,
    confirmed_at timestamp(0),
    inserted_at timestamp(0) not null default now(),
    updated_at timestamp(0) not null default now());
create unique index users_email_index on users (email);
create table users_tokens (
    id uuid primary key,
    user_id uuid not null references users on delete cascade,
    token bytea not null,
    context varchar(255) not null,
    inserted_at timestamp(0) not null default now());

create table plans (id uuid primary key, code varchar(255) not null, seats integer not null);

create table workspaces (
    id uuid primary key,
    plan_id uuid references plans on delete set null,
    icon_file_id uuid,
    name varchar(255) not null,
    slug varchar(255) not null,
    inserted_at timestamp(0) not null default now(),
    updated_at timestamp(0) not null default now());
create unique index workspaces_slug_index on workspaces (slug);

create table memberships (
    id uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    user_id uuid not null references users on delete cascade,
    role varchar(255) not null default 'member',
    deactivated_at timestamp(0),
    inserted_at timestamp(0) not null default now(),
    updated_at timestamp(0) not null default now());
create unique index memberships_workspace_id_user_id_index on memberships (workspace_id, user_id);

create table files (
    id uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    uploader_id uuid references users on delete set null,
    path varchar(255) not null,
    size bigint not null,
    inserted_at timestamp(0) not null default now());
alter table workspaces add constraint workspaces_icon_file_id_fkey
    foreign key (icon_file_id) references files on delete set null;
alter table users add constraint users_avatar_file_id_fkey
    foreign key (avatar_file_id) references files on delete set null;
alter table users add constraint users_last_workspace_id_fkey
    foreign key (last_workspace_id) references workspaces on delete set null;

create table channels (
    id uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    creator_id uuid references users on delete set null,
    name varchar(255) not null,
    topic text,
    private boolean not null default false,
    archived_at timestamp(0),
    inserted_at timestamp(0) not null default now(),
    updated_at timestamp(0) not null default now());
create table channel_members (
    channel_id uuid not null references channels on delete cascade,
    user_id uuid not null references users on delete cascade,
    last_read_message_id uuid,
    muted boolean not null default false,
    primary key (channel_id, user_id));

create table messages (
    id uuid primary key,
    channel_id uuid not null references channels on delete cascade,
    user_id uuid references users on delete set null,
    thread_root_id uuid references messages on delete cascade,
    body text not null,
    edited_at timestamp(6),
    inserted_at timestamp(6) not null default now());
alter table channel_members add constraint channel_members_last_read_message_id_fkey
    foreign key (last_read_message_id) references messages on delete set null;
create table reactions (
    message_id uuid not null references messages on delete cascade,
    user_id uuid not null references users on delete cascade,
    emoji varchar(64) not null,
    inserted_at timestamp(0) not null default now(),
    primary key (message_id, user_id, emoji));
create table message_attachments (
    id uuid primary key,
    message_id uuid not null references messages on delete cascade,
    file_id uuid not null references files on delete cascade);
create table pins (
    channel_id uuid not null references channels on delete cascade,
    message_id uuid not null references messages on delete cascade,
    pinned_by_id uuid references users on delete set null,
    primary key (channel_id, message_id));

-- A call in a channel, or one of two people that belongs to no channel.
create table calls (
    id uuid primary key,
    channel_id uuid references channels on delete set null,
    host_id uuid not null references users on delete cascade,
    started_at timestamp(0) not null default now(),
    ended_at timestamp(0));
create table call_participants (
    call_id uuid not null references calls on delete cascade,
    user_id uuid not null references users on delete cascade,
    left_at timestamp(0),
    primary key (call_id, user_id));

create table invites (
    id uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    email varchar(160) not null,
    accepted_at timestamp(0),
    inserted_at timestamp(0) not null default now());
create table integrations (
    id uuid primary key,
    workspace_id uuid not null references workspaces on delete cascade,
    kind varchar(255) not null,
    settings jsonb not null default '{}');
create table webhooks (
    id uuid primary key,
    integration_id uuid not null references integrations on delete cascade,
    url text not null,
    last_delivery_at timestamp(0));
create table oban_jobs (
    id bigserial primary key,
    state text not null default 'available',
    queue text not null default 'default',
    worker text not null,
    args jsonb not null default '{}',
    inserted_at timestamp not null default now());

insert into users (id, email) values
    ('c0000000-0000-4000-8000-000000000001', 'mara@example.org'),
    ('c0000000-0000-4000-8000-000000000002', 'teo@example.org');
insert into plans values ('c1000000-0000-4000-8000-000000000001', 'small', 10);
insert into workspaces (id, plan_id, name, slug) values
    ('c2000000-0000-4000-8000-000000000001', 'c1000000-0000-4000-8000-000000000001', 'Lighthouse', 'lighthouse'),
    ('c2000000-0000-4000-8000-000000000002', null, 'Orchard', 'orchard');
insert into memberships (id, workspace_id, user_id, role) values
    (gen_random_uuid(), 'c2000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', 'owner'),
    (gen_random_uuid(), 'c2000000-0000-4000-8000-000000000002', 'c0000000-0000-4000-8000-000000000002', 'owner');
insert into files (id, workspace_id, path, size) values
    ('c3000000-0000-4000-8000-000000000001', 'c2000000-0000-4000-8000-000000000001', 'lamp.png', 100);
insert into channels (id, workspace_id, name) values
    ('c4000000-0000-4000-8000-000000000001', 'c2000000-0000-4000-8000-000000000001', 'general');
insert into channel_members (channel_id, user_id) values
    ('c4000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001');
insert into messages (id, channel_id, user_id, body) values
    ('c5000000-0000-4000-8000-000000000001', 'c4000000-0000-4000-8000-000000000001',
     'c0000000-0000-4000-8000-000000000001', 'Good morning');
