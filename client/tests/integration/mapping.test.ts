import type { QueryKey } from '@tanstack/query-core';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { PROJECT_LIST, Scene } from './scene.js';
import { names, Page } from './page.js';
import { Stack } from './stack.js';
import { Proxy } from './proxy.js';

interface Row {
  resource: string;
  sql: string;
  values: (string | null)[];
  /** Marked stale, and refetched where it is on the screen. */
  invalidated: QueryKey[];
  /** Refetched wherever it is. */
  refetched?: QueryKey[];
}

const scene = new Scene(() => stack);
const { project, sprint, task } = scene.first;
const OF_PROJECT = scene.queries.filter((queryKey) => !queryKey.includes(scene.second.project));

const ROWS: Row[] = [
  {
    resource: 'project',
    sql: `update projects set name = 'Eleven' where id = $1`,
    values: [project],
    invalidated: [['projects', 'detail', project], PROJECT_LIST],
  },
  {
    resource: 'sprint',
    sql: `update sprints set name = 'Second stage' where id = $1`,
    values: [sprint],
    invalidated: [
      ['sprints', 'detail', sprint],
      ['sprints', 'list', project],
      ['projects', 'bundle', project],
    ],
  },
  {
    resource: 'task',
    sql: `update tasks set title = 'Lift off' where id = $1`,
    values: [task],
    invalidated: [
      ['tasks', 'detail', task],
      ['tasks', 'list', project],
      ['tasks', 'sprint', sprint],
      ['tasks', 'sprint', scene.second.sprint],
    ],
  },
  {
    resource: 'project_members',
    sql: `update project_members set role = 'admin' where project_id = $1 and user_id = $2`,
    values: [project, scene.member],
    invalidated: [PROJECT_LIST],
    refetched: [
      ['projectMembers', project],
      ['projects', 'bundle', project],
    ],
  },
  {
    resource: 'message',
    sql: `insert into messages (project_id, user_id, body) values ($1, $2, 'Go')`,
    values: [project, scene.owner],
    invalidated: [['messages', 'list', project]],
  },
  {
    resource: 'of an unknown resource',
    sql: `select neverstale.notify('milestone', 'UPDATE', $1, 'M')`,
    values: [project],
    invalidated: OF_PROJECT,
  },
  {
    resource: 'without an id (a reconnect of the project)',
    sql: `select neverstale.notify('task', 'UPDATE', $1, null)`,
    values: [project],
    invalidated: OF_PROJECT,
  },
];

let stack: Stack;
let proxy: Proxy;
let onScreen: Page;
let inCache: Page;

beforeAll(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
  await scene.furnish();
  const pages = [0, 1].map(() =>
    Page.live(stack, { url: proxy.url, user: scene.owner, projects: scene.projects }),
  );
  [onScreen, inCache] = (await Promise.all(pages)) as [Page, Page];
  for (const page of [onScreen, inCache]) {
    page.show(...scene.queries);
    await page.settled();
    await page.caughtUp(...scene.projects);
  }
  inCache.hide(...scene.queries);
});

afterAll(async () => {
  for (const page of [onScreen, inCache]) page.close();
  await proxy.close();
});

it.each(ROWS)('a change $resource', async ({ sql, values, invalidated, refetched = [] }) => {
  for (const page of [onScreen, inCache]) {
    page.takeFetched();
    expect(page.stale()).toEqual([]);
  }
  await stack.sql(sql, ...values);
  for (const page of [onScreen, inCache]) {
    await page.caughtUp(...scene.projects);
  }

  expect(onScreen.takeFetched()).toEqual(names(...invalidated, ...refetched));
  expect(onScreen.stale()).toEqual([]);
  expect(inCache.takeFetched()).toEqual(names(...refetched));
  expect(inCache.stale()).toEqual(names(...invalidated));
  for (const queryKey of scene.queries) {
    const truth = await stack.read(queryKey, scene.owner);
    expect(onScreen.client.getQueryData(queryKey), names(queryKey)[0]).toEqual(truth);
  }

  inCache.show(...scene.queries);
  await inCache.settled();
  inCache.hide(...scene.queries);
});

it('an unknown resource is warned of once', async () => {
  await stack.notify('milestone', project, 'M');
  await onScreen.caughtUp(project);
  expect(onScreen.warnings.filter((text) => text.includes('milestone'))).toHaveLength(1);
});
