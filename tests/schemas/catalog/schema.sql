-- A product catalog: codes without case (citext), categories as paths (ltree), prices as ranges of time.
create domain money_amount as numeric(12, 2) check (value >= 0);
create type availability as enum ('in_stock', 'on_order', 'discontinued');

create table organizations (
    slug citext primary key,
    name text not null,
    hidden boolean not null default false
);

create table accounts (
    email citext primary key,
    display_name text not null
);

create table organization_members (
    organization citext not null references organizations (slug) on update cascade on delete cascade,
    email citext not null references accounts (email) on update cascade on delete cascade,
    primary key (organization, email)
);

create table categories (
    organization citext not null references organizations (slug) on update cascade on delete cascade,
    path ltree not null,
    title text not null,
    primary key (organization, path)
);
create index categories_path_idx on categories using gist (path);

create table products (
    id bigint generated always as identity primary key,
    organization citext not null,
    category ltree not null,
    sku citext not null,
    title text not null,
    state availability not null default 'in_stock',
    tags text[] not null default '{}',
    attributes jsonb not null default '{}',
    deleted_at timestamptz,
    unique (organization, sku),
    foreign key (organization, category) references categories (organization, path) on update cascade
);

create table prices (
    product_id bigint not null references products (id) on delete cascade,
    valid tstzrange not null,
    amount money_amount not null,
    note json,
    primary key (product_id, valid)
);

insert into organizations values ('Apollo', 'Apollo'), ('gemini', 'Gemini');
insert into accounts values ('Ada@example.test', 'Ada'), ('grace@example.test', 'Grace');
insert into organization_members values ('apollo', 'ada@example.test'), ('gemini', 'grace@example.test');
insert into categories values
    ('Apollo', 'Top', 'All'), ('Apollo', 'Top.Tools', 'Tools'), ('gemini', 'Top', 'All'), ('gemini', 'Top.Toys', 'Toys');
insert into products (organization, category, sku, title) values
    ('Apollo', 'Top.Tools', 'H-1', 'Hammer'), ('gemini', 'Top.Toys', 'B-1', 'Ball');
insert into prices values (1, '[2026-01-01,2026-02-01)', 9.50, null);
