-- Assets of portfolios as an inheritance tree: vehicles and buildings are assets, offices are buildings.
create table portfolios (
    id uuid primary key,
    owner_id uuid not null,
    title text not null,
    archived_at timestamptz
);

create sequence asset_ids;
create table assets (
    id bigint primary key default nextval('asset_ids'),
    portfolio_id uuid not null references portfolios (id) on delete cascade,
    label text not null,
    checked_at timestamptz,
    removed_at timestamptz
);
create table vehicles (plate text not null, primary key (id)) inherits (assets);
create table buildings (address text not null default '', primary key (id)) inherits (assets);
create table offices (desks integer not null default 0, primary key (id)) inherits (buildings);
-- neither keys nor foreign keys are inherited
alter table vehicles add foreign key (portfolio_id) references portfolios (id) on delete cascade;
alter table buildings add foreign key (portfolio_id) references portfolios (id) on delete cascade;
alter table offices add foreign key (portfolio_id) references portfolios (id) on delete cascade;

create table inspections (
    id bigint generated always as identity primary key,
    portfolio_id uuid not null references portfolios (id) on delete cascade,
    asset_id bigint not null,
    verdict text not null default ''
);

create table leases (
    id bigint generated always as identity primary key,
    building_id bigint not null references buildings (id) on delete cascade,
    tenant_name text not null
);

create table postcodes (code text primary key, town text not null);

insert into portfolios values
    ('a0000000-0000-4000-8000-000000000001', '0a000000-0000-4000-8000-000000000001', 'Apollo', null),
    ('a0000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000002', 'Gemini', null);
insert into assets (portfolio_id, label) values ('a0000000-0000-4000-8000-000000000001', 'crane');
insert into vehicles (portfolio_id, label, plate) values
    ('a0000000-0000-4000-8000-000000000001', 'van', 'AB 12'), ('a0000000-0000-4000-8000-000000000002', 'lorry', 'CD 34');
insert into buildings (portfolio_id, label) values ('a0000000-0000-4000-8000-000000000001', 'shed');
insert into offices (portfolio_id, label) values ('a0000000-0000-4000-8000-000000000002', 'tower');
insert into leases (building_id, tenant_name) values (4, 'Example Ltd');
