import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { PROJECT_LIST, Scene } from './scene.js';
import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Stack } from './stack.js';

let stack: Stack;
let proxy: Proxy;
let page: Page;
let scene: Scene;

beforeAll(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
});

afterEach(() => {
  page.close();
});

afterAll(async () => {
  await proxy.close();
});

/** A live page of a member, everything on the screen, that has nothing left to hear. */
async function membersPage(isWanted: (scene: Scene) => string[]): Promise<void> {
  scene = new Scene(() => stack);
  await scene.furnish();
  const projects = isWanted(scene);
  page = await Page.live(stack, { url: proxy.url, user: scene.member, projects });
  page.show(...scene.queries);
  await page.caughtUp(...projects);
  page.takeFetched();
}

async function untilProjects(count: number): Promise<void> {
  const listed = (): number | undefined =>
    page.client.getQueryData<unknown[]>(PROJECT_LIST)?.length;
  await eventually(() => listed() === count, listed);
}

it('a removed member hears no more, and sees no more, of that project alone', async () => {
  await membersPage(({ projects }) => projects);
  const { first, second } = scene;
  await scene.remove(first.project, scene.member);
  await eventually(
    () => page.connection.status(first.project) === 'forbidden',
    () => page.connection.status(first.project),
  );
  const fetched: string[] = [];
  const [unnamed = ''] = names(['tasks', 'sprint', second.sprint]); // it may be of the lost one
  await eventually(
    () => fetched.push(...page.takeFetched()) > 0 && fetched.includes(unnamed),
    () => fetched,
  );
  await page.caughtUp(second.project);
  expect([...fetched, ...page.takeFetched()]).toEqual(expect.arrayContaining(names(PROJECT_LIST)));
  expect(page.client.getQueryData(PROJECT_LIST)).toHaveLength(1);
  for (const queryKey of first.queries.filter((key) => key.includes(first.project))) {
    expect(page.client.getQueryData(queryKey)).toBeUndefined();
  }
  expect(page.connection.status(second.project)).toBe('live');

  await scene.retitle(first);
  await scene.rename(second);
  await page.caughtUp(second.project);
  expect(page.takeFetched()).toEqual(
    names(
      ['sprints', 'detail', second.sprint],
      ['sprints', 'list', second.project],
      ['projects', 'bundle', second.project],
    ),
  );
  expect(page.sockets).toBe(1);
});

it('whose only project is lost hears a later invitation', async () => {
  await membersPage(({ first }) => [first.project]);
  const { first, member } = scene;
  const status = (): string => page.connection.status(first.project);
  await scene.remove(first.project, member);
  await eventually(() => status() === 'forbidden', status);
  await untilProjects(1);
  // If no `error` told it before the close did, the next handshake does.
  await eventually(
    () => page.closeCodes.length > 0 && page.sockets === page.closeCodes.length + 1,
    () => page.closeCodes,
  );
  expect(new Set(page.closeCodes)).toEqual(new Set([4403]));

  await scene.invite(first.project, member);
  await page.caughtUp(first.project);
  expect(status()).toBe('live');
  await untilProjects(2);
});

it('a project that is not theirs is forbidden, the others are live', async () => {
  await membersPage(({ second }) => [second.project]);
  const { first, second } = scene;
  const stranger = await stack.sql(
    `insert into projects (owner_id, name) select owner_id, 'Secret' from projects where id = $1
     returning id`,
    first.project,
  );
  const [{ id: secret }] = stranger as [{ id: string }];
  page.enter(secret);
  await eventually(
    () => page.connection.status(secret) === 'forbidden',
    () => page.connection.status(secret),
  );
  expect(page.connection.status(second.project)).toBe('live');
  expect(page.sockets).toBe(1);
});

it('a token that has expired is renewed before a project is given up', async () => {
  scene = new Scene(() => stack);
  await scene.furnish();
  const asked: boolean[] = [];
  page = await Page.live(stack, {
    url: proxy.url,
    user: scene.member,
    projects: scene.projects,
    connection: {
      getToken: ({ refresh }) => {
        asked.push(refresh);
        return stack.token(scene.member, refresh ? undefined : -60);
      },
    },
  });
  await page.caughtUp(...scene.projects);
  expect(asked).toEqual([false, true]);
  expect(page.closeCodes).toEqual([4401]);
});

it('an invitation ends what was forbidden', async () => {
  await membersPage(({ projects }) => projects);
  const { first, second, member } = scene;
  await scene.remove(first.project, member);
  await eventually(
    () => page.connection.status(first.project) === 'forbidden',
    () => page.connection.status(first.project),
  );
  await page.caughtUp(second.project);
  page.takeFetched();

  await scene.invite(first.project, member);
  await page.untilLive();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual(expect.arrayContaining(names(PROJECT_LIST, ...first.queries)));
  for (const queryKey of [PROJECT_LIST, ...first.queries]) {
    expect(page.client.getQueryData(queryKey)).toEqual(await stack.read(queryKey, member));
  }
  expect(page.client.getQueryData(PROJECT_LIST)).toHaveLength(2);
  expect(page.sockets).toBe(1);
});

it('a project that was made or is gone is news, whatever is looked at', async () => {
  await membersPage(({ second }) => [second.project]);
  const { first, second, member } = scene;
  await scene.remove(first.project, member);
  await untilProjects(1);
  const made = crypto.randomUUID();
  await stack.sql(`insert into projects (id, owner_id, name) values ($1, $2, 'New')`, made, member);
  await untilProjects(2);
  expect(page.connection.status(second.project)).toBe('live');
});
