import { afterAll, beforeAll, beforeEach, afterEach, expect, it } from 'vitest';

import { defaultMapping } from '../../src/tanstack/index.js';
import { eventually, Page } from './page.js';
import { Proxy } from './proxy.js';
import { PROJECT_LIST, Scene } from './scene.js';
import { Stack } from './stack.js';

/** An app whose projects are called workspaces, and whose members have another name too. */
const RESOURCES = { project: 'workspace', project_members: 'team_members' };
const MAPPING = { workspace: defaultMapping.project, team_members: defaultMapping.project_members };

let stack: Stack;
let proxy: Proxy;
let page: Page;
let scene: Scene;

beforeAll(async () => {
  stack = await Stack.own({ gateways: 1, listeners: 1, resources: RESOURCES });
  proxy = await Proxy.listen(stack.gatewayPorts);
});

beforeEach(async () => {
  scene = new Scene(() => stack);
  await scene.furnish();
  const { member: user, projects } = scene;
  page = await Page.live(stack, { url: proxy.url, user, projects, mapping: MAPPING });
  page.show(...scene.queries);
  await page.caughtUp(...projects);
});

afterEach(() => {
  page.close();
});

afterAll(async () => {
  await proxy.close();
});

async function untilStatus(projectId: string, wanted: string): Promise<void> {
  const status = (): string => page.connection.status(projectId);
  await eventually(() => status() === wanted, status);
}

/** Whatever is on the screen is what the database says: nothing, where access is lost. */
async function expectTruth(): Promise<void> {
  for (const { queryKey, state } of page.client.getQueryCache().findAll({ type: 'active' })) {
    expect(state.data ?? [], queryKey.join('/')).toEqual(await stack.read(queryKey, scene.member));
  }
}

it('a member who regains a workspace sees it again', async () => {
  const { first, second, member } = scene;
  await scene.remove(first.project, member);
  await untilStatus(first.project, 'forbidden');
  await page.caughtUp(second.project);
  await expectTruth();

  await scene.invite(first.project, member);
  await untilStatus(first.project, 'live');
  await page.caughtUp(...scene.projects);
  expect(page.client.getQueryData(['tasks', 'list', first.project])).toHaveLength(1);
  await expectTruth();
  expect(page.sockets).toBe(1);
});

it('a new workspace is joined by a page that waits for it', async () => {
  const { member } = scene;
  const made = crypto.randomUUID();
  page.enter(made);
  await untilStatus(made, 'forbidden');
  page.show(['projects', 'detail', made]);
  await page.settled();
  await stack.sql(`insert into projects (id, owner_id, name) values ($1, $2, 'New')`, made, member);
  await untilStatus(made, 'live');
  await page.caughtUp(made, ...scene.projects);
  expect(page.client.getQueryData(PROJECT_LIST)).toHaveLength(3);
  await expectTruth();
});
