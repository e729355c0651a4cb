import { setTimeout as sleep } from 'node:timers/promises';

import type { QueryKey } from '@tanstack/query-core';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { seeded } from '../seeded.js';
import { eventually, nameOf, Page } from './page.js';
import { Proxy } from './proxy.js';
import { PROJECT_LIST } from './scene.js';
import { Stack } from './stack.js';

const SECONDS = Number(process.env.ORACLE_SECONDS ?? 15);
const SEED = Number(process.env.ORACLE_SEED ?? Math.floor(Math.random() * 1e9));
const PAGES = 50;
const PROJECTS = 6;
const USERS = 10;
/** A reset heals whatever was missed: it must be looked for often. */
const ROUND_SECONDS = 5;
/** Everything that a fault or a change leads to has begun by then. */
const QUIET_MS = 2_000;
/** Of the API, after it has read: what it answers may be stale on arrival. */
const LATENCY_MS = 400;
const SETTLE_MS = 60_000;

const SETUP = `
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

/** What writers do to a project; each takes its id and a text of its own. */
const WRITES: readonly (readonly [weight: number, sql: string])[] = [
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

const random = seeded(SEED);
const counts = { writes: 0, faults: 0, outages: 0, failures: 0, steps: 0, rows: 0 };
let stack: Stack;
let proxy: Proxy;
let users: string[];
let projects: string[];
const visitors: Visitor[] = [];

function pick<T>(from: readonly T[]): T {
  if (from.length === 0) throw new Error('nothing to pick from');
  return from[Math.floor(random() * from.length)] as T;
}

function pickWeighted<T>(choices: readonly (readonly [number, T])[]): T {
  let at = random() * choices.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, choice] of choices) {
    at -= weight;
    if (at < 0) return choice;
  }
  throw new Error('no choice');
}

/** Pauses between tries are as in life, but shorter. */
function impatience(): number {
  return Math.random() * 0.3;
}

/** Somebody with a page, who looks at this and that. */
class Visitor {
  readonly page: Page;
  private readonly looksAt = new Map<string, QueryKey[]>();

  /** @param isDeaf - it hears of no changes: the oracle must catch it */
  constructor(private readonly isDeaf = false) {
    this.page = new Page(stack, {
      url: proxy.url,
      user: pick(users),
      random: impatience,
      latencyMs: LATENCY_MS,
    });
    if (!isDeaf) this.page.connect();
    this.enter();
  }

  async step(): Promise<void> {
    counts.steps += 1;
    await pickWeighted<() => void | Promise<void>>([
      [6, () => this.show()],
      [
        4,
        () => {
          this.hide();
        },
      ],
      [2, () => this.prefetch()],
      [2, () => this.mutate()],
      [
        2,
        () => {
          this.leave();
        },
      ],
      [
        2,
        () => {
          this.enter();
        },
      ],
      [
        1,
        () => {
          this.connectAnew();
        },
      ],
      [
        2,
        () => {
          this.page.setVisible(random() < 0.5);
        },
      ],
      [1, () => this.bindAnew()],
    ])();
  }

  async show(): Promise<void> {
    const projectId = pick([...this.looksAt.keys()]);
    const queryKey = await someQuery(projectId);
    const shown = this.looksAt.get(projectId);
    if (!shown || shown.length > 3) return;
    shown.push(queryKey);
    this.page.show(queryKey);
  }

  private hide(): void {
    const gone = pick([...this.looksAt.values()]).pop();
    const isLeft = [...this.looksAt.values()].flat().some((key) => key === gone);
    if (gone && !isLeft) this.page.hide(gone);
  }

  private async prefetch(): Promise<void> {
    const projectId = pick([...this.looksAt.keys()]);
    await this.page.client.query({ queryKey: await someQuery(projectId) }).catch(isAway);
  }

  /**
   * A change of one's own, perhaps optimistic, whose response comes late and is written to the cache.
   * It may fail, before or after it is committed.
   */
  private async mutate(): Promise<void> {
    const id = await someId('tasks', pick([...this.looksAt.keys()]));
    if (id === undefined) return;
    const { client, user } = this.page;
    const queryKey = ['tasks', 'detail', id];
    const isOptimistic = random() < 0.5;
    const failsAt = pick([0, LATENCY_MS, undefined, undefined]);
    const fail = (): void => {
      throw new Error('fails as it should');
    };
    const mutation = client.getMutationCache().build(client, {
      mutationFn: async () => {
        counts.writes += 1;
        if (failsAt === 0) fail();
        await stack.sql('update tasks set title = $2 where id = $1', id, `mine ${counts.writes}`);
        const response = await stack.read(queryKey, user);
        await sleep(Math.random() * LATENCY_MS);
        if (failsAt !== undefined) fail();
        return response;
      },
      onMutate: () => {
        const previous = client.getQueryData(queryKey);
        if (isOptimistic) client.setQueryData(queryKey, (rows) => rows && ['optimistic']);
        return previous;
      },
      onSuccess: (response) => client.setQueryData(queryKey, response),
      onError: (_error, _variables, previous) => {
        if (isOptimistic) client.setQueryData(queryKey, previous);
      },
    });
    void mutation.execute(undefined).catch((error: unknown) => {
      if (!String(error).includes('as it should')) isAway(error);
    });
  }

  private enter(): void {
    const projectId = pick(projects);
    if (this.looksAt.has(projectId)) return;
    this.looksAt.set(projectId, []);
    if (!this.isDeaf) this.page.enter(projectId);
  }

  /** What is kept of a project that nobody looks at is not kept fresh. */
  private leave(): void {
    const projectId = pick([...this.looksAt.keys()]);
    if (this.looksAt.size === 1) return;
    this.page.hide(...(this.looksAt.get(projectId) ?? []));
    this.looksAt.delete(projectId);
    this.page.leave(projectId);
  }

  private connectAnew(): void {
    this.page.disconnect();
    this.page.connect();
    for (const projectId of this.looksAt.keys()) this.page.enter(projectId);
  }

  /** For a while the query cache hears of nothing. */
  private async bindAnew(): Promise<void> {
    this.page.unbind();
    await sleep(random() * 500);
    this.page.bind();
  }

  /** What it takes to be true: of its own projects, and on the screen or not marked as stale. */
  beliefs(): { queryKey: QueryKey; data: unknown }[] {
    return this.page.client
      .getQueryCache()
      .getAll()
      .filter((query) => query.queryKey[0] !== 'neverstale')
      .filter((query) => query.isActive() || !query.isStaleByTime(Infinity))
      .map(({ queryKey, state }) => ({ queryKey, data: state.data }));
  }

  /** Whether it is promised to be fresh. */
  isOf(queryKey: QueryKey, truth: unknown): boolean {
    if (nameOf(queryKey) === nameOf(PROJECT_LIST)) return true;
    const rows = truth as { project_id?: string }[];
    const projectIds = [...queryKey, ...rows.map((row) => row.project_id)];
    return [...this.looksAt.keys()].some((projectId) => projectIds.includes(projectId));
  }

  /** Whoever sees an error where nothing was ever shown tries again. */
  tryAgain(): void {
    void this.page.client.refetchQueries({
      type: 'active',
      predicate: ({ state }) => state.status === 'error' && state.data === undefined,
    });
  }

  get isSettled(): boolean {
    const { client, connection, projects: open } = this.page;
    const isLive = open.every((projectId) => connection.status(projectId) === 'live');
    return isLive && client.isFetching() + client.isMutating() === 0 && this.lateQueries() === 0;
  }

  /** On the screen and known to be stale. */
  private lateQueries(): number {
    const queries = this.page.client.getQueryCache().findAll({ type: 'active' });
    return queries.filter((query) => query.isStaleByTime(Infinity)).length;
  }
}

async function someId(table: 'tasks' | 'sprints', projectId: string): Promise<string | undefined> {
  const rows = await stack.sql(
    `select id from ${table} where project_id = $1 order by random() limit 1`,
    projectId,
  );
  return (rows as { id: string }[])[0]?.id;
}

async function someQuery(projectId: string): Promise<QueryKey> {
  const table = pick(['tasks', 'sprints', undefined, undefined] as const);
  const id = table && (await someId(table, projectId));
  if (table !== undefined && id !== undefined) {
    return table === 'sprints' && random() < 0.5 ? ['tasks', 'sprint', id] : [table, 'detail', id];
  }
  return pick([
    PROJECT_LIST,
    ['projects', 'detail', projectId],
    ['projects', 'bundle', projectId],
    ['sprints', 'list', projectId],
    ['tasks', 'list', projectId],
    ['projectMembers', projectId],
    ['messages', 'list', projectId],
  ]);
}

async function write(): Promise<void> {
  counts.writes += 1;
  const sql = pickWeighted(WRITES);
  await stack.sql(sql, ...(sql.includes('$') ? [pick(projects), `write ${counts.writes}`] : []));
}

async function fault(): Promise<void> {
  counts.faults += 1;
  const restart = async (
    part: Parameters<Stack['part']>[0],
    how: 'stop' | 'kill',
  ): Promise<void> => {
    await stack.part(part, how);
    await sleep(random() * 500);
    await stack.part(part, 'start');
  };
  await pickWeighted([
    [3, () => restart(pick(['gateway0', 'gateway1']), pick(['stop', 'kill']))],
    [2, () => restart(pick(['listener0', 'listener1']), pick(['stop', 'kill']))],
    [2, () => restart('valkey', 'kill')],
    [
      1,
      () => {
        counts.outages += 1;
        return restart('postgres', 'kill');
      },
    ],
    [
      3,
      () => {
        proxy.cutSome(random());
        return sleep(0);
      },
    ],
    [
      2,
      async () => {
        proxy.cut();
        await sleep(random() * 1_500);
        proxy.mend();
      },
    ],
  ])();
}

/** Does it again and again, with pauses of up to so many milliseconds. */
async function repeat(until: number, pauseMs: number, act: () => Promise<void>): Promise<void> {
  while (Date.now() < until) {
    await act();
    await sleep(random() * pauseMs);
  }
}

/** The app's API answers nothing while its database is away. */
function isAway(error: unknown): void {
  if (!String(error).includes(': 503 ')) throw error;
  counts.failures += 1;
}

async function settled(visitors: readonly Visitor[]): Promise<void> {
  for (const visitor of visitors) {
    visitor.page.setVisible(true);
    visitor.tryAgain();
  }
  await eventually(
    () => visitors.every((visitor) => visitor.isSettled),
    () => visitors.filter((visitor) => !visitor.isSettled).map(({ page }) => page.stale()),
    SETTLE_MS,
  );
}

/** What somebody takes to be true, and is not so in the database. */
async function lies(visitors: readonly Visitor[]): Promise<string[]> {
  const truths = new Map<string, Promise<unknown>>();
  const found: string[] = [];
  for (const visitor of visitors) {
    for (const { queryKey, data } of visitor.beliefs()) {
      const name = nameOf(queryKey);
      const truth = truths.get(name) ?? stack.read(queryKey, visitor.page.user);
      truths.set(name, truth);
      const rows = await truth;
      if (!visitor.isOf(queryKey, rows)) continue;
      counts.rows += (rows as unknown[]).length;
      if (JSON.stringify(data) !== JSON.stringify(rows)) found.push(name);
    }
  }
  return found;
}

beforeAll(async () => {
  stack = await Stack.own({ gateways: 2, listeners: 2 });
  proxy = await Proxy.listen(stack.gatewayPorts, random);
  [{ users, projects }] = (await stack.sql(SETUP)) as [{ users: string[]; projects: string[] }];
});

afterAll(async () => {
  for (const { page } of visitors) page.close();
  await proxy.close();
});

it(`no cache is stale after all that (ORACLE_SEED=${SEED})`, { timeout: 0 }, async () => {
  console.log(`ORACLE_SEED=${SEED} ORACLE_SECONDS=${SECONDS}`);
  visitors.push(...Array.from({ length: PAGES }, () => new Visitor()));
  const deaf = new Visitor(true);
  deaf.page.show(...projects.map((projectId) => ['tasks', 'list', projectId]));
  for (let queries = 0; queries < 3; queries += 1) {
    await Promise.all(visitors.map((visitor) => visitor.show()));
  }
  await settled(visitors);

  for (let round = 0; round < SECONDS / ROUND_SECONDS; round += 1) {
    const end = Date.now() + ROUND_SECONDS * 1_000;
    await Promise.all([
      repeat(end, 120, write),
      repeat(end, 30, () => pick(visitors).step()),
      repeat(end, 2_000, fault),
    ]);
    await Promise.all((['gateway0', 'gateway1'] as const).map((part) => stack.part(part, 'ready')));
    await settled(visitors);
    await sleep(QUIET_MS);
    await settled(visitors);
    expect(await lies(visitors), `round ${round} of ORACLE_SEED=${SEED}`).toEqual([]);
  }
  const sockets = visitors.reduce((sum, { page }) => sum + page.sockets, 0);
  const resets = visitors.reduce((sum, { page }) => sum + page.resets().length, 0);
  console.log(JSON.stringify({ ...counts, sockets, resets, stale: 0 }));
  expect(counts.rows).toBeGreaterThan(PAGES);
  expect((await lies([deaf])).length, 'it sees what is stale').toBeGreaterThan(0);
  deaf.page.client.clear();
});
