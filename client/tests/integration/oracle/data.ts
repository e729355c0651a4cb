import type { Stack } from '../stack.js';

const PROJECTS = 6;
const USERS = 10;

/** Each row gets a version that grows with each of its changes, in the order of their commits. */
const VERSIONS = [
  'create sequence versions',
  `create function give_version() returns trigger language plpgsql as
    $$ begin new.version := nextval('versions'); return new; end $$`,
  ...['projects', 'project_members', 'sprints', 'tasks', 'messages'].flatMap((table) => [
    `alter table ${table} add column version bigint`,
    `create trigger give_version before insert or update on ${table}
      for each row execute function give_version()`,
  ]),
];

const DATA = `
with people as (
  insert into users (name) select 'user ' || n from generate_series(1, ${USERS}) as n returning id
), boards as (
  insert into projects (owner_id, name)
  select (select id from people limit 1), 'project ' || n from generate_series(1, ${PROJECTS}) as n
  returning id
), members as (
  insert into project_members (project_id, user_id)
  select boards.id, people.id from boards, people
), stages as (
  insert into sprints (project_id, name)
  select id, 'sprint ' || n from boards, generate_series(1, 2) as n
  returning id, project_id
), work as (
  insert into tasks (project_id, sprint_id, title)
  select project_id, id, 'task ' || n from stages, generate_series(1, 4) as n
)
select array(select id from people) as users, array(select id from boards) as projects`;

/** What writers do to a project; each statement takes the id and a unique text. */
export const WRITES: readonly (readonly [weight: number, sql: string])[] = [
  [
    8,
    `update tasks set title = $2 where id =
      (select id from tasks where project_id = $1 order by random() limit 1)`,
  ],
  [
    2,
    `insert into tasks (project_id, sprint_id, title) select $1, s.id, $2
      from (select id from sprints where project_id = $1 order by random() limit 1) as s`,
  ],
  [
    2,
    `delete from tasks where title <> $2 and id =
      (select id from tasks where project_id = $1 order by random() limit 1)`,
  ],
  [
    2,
    `update tasks set title = $2, sprint_id = null,
      project_id = (select id from projects where name like 'project %' order by random() limit 1)
      where id = (select id from tasks where project_id = $1 order by random() limit 1)`,
  ],
  [
    2,
    `update sprints set name = $2 where id =
      (select id from sprints where project_id = $1 order by random() limit 1)`,
  ],
  [1, `insert into sprints (project_id, name) values ($1, $2)`],
  [
    1,
    `delete from sprints where name <> $2 and id =
      (select id from sprints where project_id = $1 order by random() limit 1)`,
  ],
  [
    3,
    `insert into messages (project_id, user_id, body)
      select $1, user_id, $2 from project_members where project_id = $1 limit 1`,
  ],
  [2, `update projects set name = 'project ' || $2 where id = $1`],
  [
    2,
    `update project_members set role = $2 where project_id = $1 and user_id =
      (select user_id from project_members where project_id = $1 order by random() limit 1)`,
  ],
  [0.5, `update tasks set title = title || $2 where project_id = $1`],
  [0.2, `with gone as (delete from messages where project_id = $1) select $2::text`],
  [0.3, `truncate messages`],
  [0.5, `select neverstale.notify('task', 'UPDATE', $1, null, null), $2::text`],
];

/** Changes something that each query of a project shows. */
export const WRITE_ALL = `
with changed_tasks as (
  update tasks set title = $2 where project_id = $1
), changed_sprints as (
  update sprints set name = $2 where project_id = $1
), changed_members as (
  update project_members set role = $2 where project_id = $1
), new_message as (
  insert into messages (project_id, user_id, body)
  select $1, user_id, $2 from project_members where project_id = $1 limit 1
)
update projects set name = 'project ' || $2 where id = $1`;

export interface Data {
  readonly users: string[];
  readonly projects: string[];
}

/** Fill the database: every user may see every project. */
export async function setUp(stack: Stack): Promise<Data> {
  for (const sql of VERSIONS) await stack.sql(sql);
  const [data] = (await stack.sql(DATA)) as [Data];
  return data;
}
