-- An issue tracker in the conventions of Rails: bigint ids, timestamps of the framework, polymorphic references
-- without foreign keys, a join table without a key, soft deletion, counters.
create table schema_migrations (version varchar primary key);
create table ar_internal_metadata (
    key varchar primary key, value varchar,
    created_at timestamp(6) not null, updated_at timestamp(6) not null);

create table users (
    id bigserial primary key,
    email varchar not null,
    name varchar not null,
    encrypted_password varchar default '' not null,
    avatar_upload_id bigint,
    last_active_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create unique index index_users_on_email on users (email);

create table organizations (
    id bigserial primary key,
    name varchar not null,
    default_project_id bigint,
    projects_count integer default 0 not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table organization_memberships (
    id bigserial primary key,
    organization_id bigint not null references organizations,
    user_id bigint not null references users,
    role integer default 0 not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create unique index index_organization_memberships on organization_memberships (organization_id, user_id);

create table projects (
    id bigserial primary key,
    organization_id bigint not null references organizations,
    creator_id bigint not null references users,
    name varchar not null,
    identifier varchar not null,
    issues_count integer default 0 not null,
    deleted_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create unique index index_projects_on_identifier on projects (organization_id, identifier) where deleted_at is null;

-- A file of a project, or of nobody's yet; users have one for their avatar.
create table uploads (
    id bigserial primary key,
    project_id bigint references projects,
    filename varchar not null,
    byte_size bigint not null,
    checksum varchar,
    created_at timestamp(6) not null default now());
alter table users add constraint fk_rails_avatar foreign key (avatar_upload_id) references uploads (id);
alter table organizations add constraint fk_rails_default foreign key (default_project_id) references projects (id);

create table milestones (
    id bigserial primary key,
    project_id bigint not null references projects,
    title varchar not null,
    due_on date,
    closed_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

-- Without a project a label is one of the whole installation.
create table labels (
    id bigserial primary key,
    project_id bigint references projects,
    name varchar not null,
    color varchar default '#cccccc' not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create table label_rules (
    id bigserial primary key,
    label_id bigint not null references labels,
    pattern varchar not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table issues (
    id bigserial primary key,
    project_id bigint not null references projects,
    milestone_id bigint references milestones,
    author_id bigint not null references users,
    assignee_id bigint references users,
    parent_id bigint references issues,
    number integer not null,
    title varchar not null,
    description text,
    state integer default 0 not null,
    comments_count integer default 0 not null,
    lock_version integer default 0 not null,
    deleted_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create unique index index_issues_on_number on issues (project_id, number);

create table issues_labels (
    issue_id bigint not null references issues,
    label_id bigint not null references labels);
create index index_issues_labels on issues_labels (issue_id, label_id);

create table time_entries (
    id bigserial primary key,
    issue_id bigint not null references issues,
    user_id bigint not null references users,
    minutes integer not null,
    spent_on date not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table boards (
    id bigserial primary key,
    project_id bigint not null references projects,
    name varchar not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create table board_columns (
    id bigserial primary key,
    board_id bigint not null references boards,
    name varchar not null,
    position integer not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create table board_cards (
    id bigserial primary key,
    board_column_id bigint not null references board_columns,
    milestone_id bigint references milestones,
    position integer not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table comments (
    id bigserial primary key,
    commentable_type varchar not null,
    commentable_id bigint not null,
    user_id bigint not null references users,
    body text not null,
    deleted_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());
create index index_comments_on_commentable on comments (commentable_type, commentable_id);

create table reactions (
    id bigserial primary key,
    reactable_type varchar not null,
    reactable_id bigint not null,
    user_id bigint not null references users,
    emoji varchar not null,
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table audits (
    id bigserial primary key,
    auditable_type varchar,
    auditable_id bigint,
    action varchar,
    audited_changes jsonb,
    created_at timestamp(6) not null default now());

create table notifications (
    id bigserial primary key,
    user_id bigint not null references users,
    issue_id bigint references issues on delete cascade,
    kind varchar not null,
    read_at timestamp(6),
    created_at timestamp(6) not null default now(),
    updated_at timestamp(6) not null default now());

create table sessions (
    id bigserial primary key,
    user_id bigint not null references users,
    token_digest varchar not null,
    last_seen_at timestamp(6),
    created_at timestamp(6) not null default now());

insert into users (email, name) values
    ('ines@example.org', 'Ines'), ('bo@example.org', 'Bo'), ('kofi@example.org', 'Kofi');
insert into organizations (name) values ('Harbour Works'), ('Nettle & Co');
insert into organization_memberships (organization_id, user_id, role) values (1, 1, 2), (1, 2, 0), (2, 3, 2);
insert into projects (organization_id, creator_id, name, identifier) values
    (1, 1, 'Crane', 'CRN'), (1, 2, 'Ferry', 'FRY'), (2, 3, 'Loom', 'LOM');
insert into uploads (project_id, filename, byte_size) values (1, 'plan.pdf', 81920), (null, 'ines.png', 2048);
insert into milestones (project_id, title) values (1, 'First lift');
insert into labels (project_id, name) values (1, 'rust'), (null, 'bug');
insert into label_rules (label_id, pattern) values (2, 'crash');
insert into issues (project_id, author_id, number, title) values
    (1, 1, 1, 'The hook swings'), (1, 2, 2, 'Paint the jib'), (2, 2, 1, 'Timetable');
insert into boards (project_id, name) values (1, 'Yard');
insert into board_columns (board_id, name, position) values (1, 'Next', 1), (1, 'Done', 2);
insert into board_cards (board_column_id, position) values (1, 1);
insert into comments (commentable_type, commentable_id, user_id, body) values ('Issue', 1, 2, 'Since Tuesday');
insert into notifications (user_id, issue_id, kind) values (1, 1, 'mention'), (2, null, 'welcome');
insert into sessions (user_id, token_digest) values (1, 'x');
