import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { Scene, type Board } from './scene.js';
import { names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Stack } from './stack.js';

let stack: Stack;
const scene = new Scene(() => stack);
const { first, second } = scene;
let proxy: Proxy;
const pages: Page[] = [];

beforeAll(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
  await scene.furnish();
});

afterEach(() => {
  for (const page of pages.splice(0)) page.close();
});

afterAll(async () => {
  await proxy.close();
});

/** A live page with these projects, everything on the screen, that has nothing left to hear. */
async function boardPage(...projects: string[]): Promise<Page> {
  const page = await Page.live(stack, { url: proxy.url, user: scene.owner, projects });
  pages.push(page);
  page.show(...scene.queries);
  await page.caughtUp(...projects);
  page.takeFetched();
  page.events = [];
  return page;
}

const TASKS_OF_ANY_SPRINT = [first, second].map(({ sprint }) => ['tasks', 'sprint', sprint]);

function tasksOf({ project, task }: Board): string[] {
  return names(['tasks', 'detail', task], ['tasks', 'list', project], ...TASKS_OF_ANY_SPRINT);
}

function sprintsOf({ project, sprint }: Board): string[] {
  return names(
    ['sprints', 'detail', sprint],
    ['sprints', 'list', project],
    ['projects', 'bundle', project],
  );
}

it('after a cut exactly what changed meanwhile is refetched', async () => {
  const page = await boardPage(...scene.projects);
  proxy.cut();
  await scene.retitle(first);
  await scene.retitle(first);
  await scene.rename(second);
  expect(page.takeFetched()).toEqual([]);
  proxy.mend();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual([...tasksOf(first), ...sprintsOf(second)].sort());
  expect(page.resets()).toEqual([]);
  expect(page.closeCodes[0]).toBe(1006);
  expect(page.stale()).toEqual([]);
});

it('after a cut in which nothing changed nothing is refetched', async () => {
  const page = await boardPage(...scene.projects);
  proxy.cut();
  proxy.mend();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual([]);
  expect(page.resets()).toEqual([]);
  expect(page.closeCodes[0]).toBe(1006);
});

it('a project that is left and comes back is resumed, on the same socket', async () => {
  const page = await boardPage(first.project);
  page.leave(first.project);
  page.enter(second.project);
  await page.caughtUp(second.project);
  expect(page.resets()).toEqual(['gap']); // the second is new to this page
  page.takeFetched();
  page.events = [];

  await scene.retitle(first);
  await scene.rename(second);
  await page.caughtUp(second.project);
  expect(page.takeFetched()).toEqual(sprintsOf(second));

  page.leave(second.project);
  page.enter(first.project);
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual(tasksOf(first));

  await scene.rename(second);
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual([]);
  page.enter(second.project);
  await page.caughtUp(second.project);
  expect(page.takeFetched()).toEqual(sprintsOf(second));
  expect(page.resets()).toEqual([]);
  expect(page.sockets).toBe(1);
});

it('several projects are heard on one socket', async () => {
  const page = await boardPage(...scene.projects);
  await scene.rename(first);
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual(sprintsOf(first));
  await scene.rename(second);
  await page.caughtUp(second.project);
  expect(page.takeFetched()).toEqual(sprintsOf(second));
  expect(page.sockets).toBe(1);
});

it('a project left during a cut is not subscribed to, and resumed when it is back', async () => {
  const page = await boardPage(...scene.projects);
  proxy.cut();
  page.leave(second.project);
  await scene.rename(second);
  proxy.mend();
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual([]);
  page.enter(second.project);
  await page.caughtUp(second.project);
  expect(page.takeFetched()).toEqual(sprintsOf(second));
  expect(page.resets()).toEqual([]);
});

it('another connection goes on where the cache was left', async () => {
  const page = await boardPage(first.project);
  page.disconnect();
  await scene.retitle(first);
  page.connect();
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual(tasksOf(first));
  expect(page.resets()).toEqual([]);
});

it('without its cursors everything is stale', async () => {
  const page = await boardPage(first.project);
  page.disconnect();
  page.client.removeQueries({ queryKey: ['neverstale'] });
  page.connect();
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual(names(...scene.queries));
});
