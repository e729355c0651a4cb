-- Telemetry of devices: events partitioned by day, alarms by tenant and then by month.
create table tenants (
    id bigint generated always as identity primary key,
    name text not null,
    suspended_at timestamptz
);

create table tenant_users (
    tenant_id bigint not null references tenants (id) on delete cascade,
    user_id text not null,
    primary key (tenant_id, user_id)
);

create table devices (
    id uuid primary key,
    tenant_id bigint not null references tenants (id) on delete cascade,
    name text not null,
    retired_at timestamptz,
    last_seen_at timestamptz
);

create table readings (
    device_id uuid not null references devices (id) on delete cascade,
    tenant_id bigint not null references tenants (id) on delete cascade,
    day date not null,
    seq integer not null,
    value numeric,
    note text,
    primary key (day, device_id, seq)
) partition by range (day);
create table readings_2026_01 partition of readings for values from ('2026-01-01') to ('2026-02-01');
create table readings_2026_02 partition of readings for values from ('2026-02-01') to ('2026-03-01');

create table alarms (
    tenant_id bigint not null references tenants (id) on delete cascade,
    id text not null,
    raised_on date not null,
    message text not null default '',
    closed_at timestamptz,
    primary key (tenant_id, raised_on, id)
) partition by list (tenant_id);
create table alarms_1 partition of alarms for values in (1) partition by range (raised_on);
create table alarms_1_2026 partition of alarms_1 for values from ('2026-01-01') to ('2027-01-01');
create table alarms_other partition of alarms default;

create table firmware_releases (
    version text primary key,
    released_on date not null
);

insert into tenants (name) values ('Apollo'), ('Gemini');
insert into tenant_users values (1, 'ada'), (2, 'grace'), (2, 'ada');
insert into devices (id, tenant_id, name) values
    ('d0000000-0000-4000-8000-000000000001', 1, 'boiler'), ('d0000000-0000-4000-8000-000000000002', 2, 'pump');
insert into readings values
    ('d0000000-0000-4000-8000-000000000001', 1, '2026-01-05', 1, 20.5, null),
    ('d0000000-0000-4000-8000-000000000001', 1, '2026-01-05', 2, 20.6, null),
    ('d0000000-0000-4000-8000-000000000002', 2, '2026-02-07', 1, 3.1, null);
insert into alarms (tenant_id, id, raised_on) values (1, 'x1', '2026-01-05'), (2, 'y1', '2026-02-07');
