-- A help desk: comments, attachments and reactions refer to any table by type and id; teams, boards and accounts
-- could each be the projects.
create table accounts (
    id bigserial primary key,
    billing_name text not null
);

create table users (
    id bigserial primary key,
    login text not null unique
);

create table teams (
    id bigserial primary key,
    account_id bigint not null references accounts (id),
    name text not null
);

create table boards (
    id bigserial primary key,
    team_id bigint references teams (id) on delete set null,
    creator_id bigint references users (id),
    name text not null,
    archived_at timestamptz
);

create table board_users (
    id bigserial primary key,
    board_id bigint not null references boards (id) on delete cascade,
    user_id bigint not null references users (id) on delete cascade,
    unique (board_id, user_id)
);

create table tickets (
    id bigserial primary key,
    board_id bigint not null references boards (id) on delete cascade,
    subject text not null,
    deleted_at timestamptz
);

create table articles (
    id bigserial primary key,
    board_id bigint not null references boards (id) on delete cascade,
    title text not null
);

create table comments (
    id bigserial primary key,
    subject_type text not null check (subject_type in ('Ticket', 'Article')),
    subject_id bigint not null,
    body text not null
);
create index comments_subject_idx on comments (subject_type, subject_id);

create table attachments (
    id bigserial primary key,
    owner_type text not null,
    owner_id bigint not null,
    file_name text not null
);

create table notifications (
    id bigserial primary key,
    user_id bigint not null references users (id) on delete cascade,
    text text not null,
    read_at timestamptz
);

insert into accounts (billing_name) values ('Example');
insert into users (login) values ('ada'), ('grace');
insert into teams (account_id, name) values (1, 'Support');
insert into boards (team_id, creator_id, name) values (1, 1, 'Apollo'), (1, 2, 'Gemini'), (null, 2, 'Empty');
insert into board_users (board_id, user_id) values (1, 1), (2, 2), (3, 1);
insert into tickets (board_id, subject) values (1, 'No light'), (2, 'No sound');
insert into articles (board_id, title) values (1, 'How to'), (2, 'Why');
insert into comments (subject_type, subject_id, body) values ('Ticket', 1, 'Soon.'), ('Article', 2, 'Nice.');
insert into attachments (owner_type, owner_id, file_name) values ('Comment', 1, 'photo.jpeg');
