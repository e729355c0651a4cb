import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest';

import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Scene } from './scene.js';
import { Stack } from './stack.js';

let stack: Stack;
let proxy: Proxy;
let page: Page;
let scene: Scene;

beforeAll(async () => {
  stack = await Stack.shared();
});

beforeEach(async () => {
  proxy = await Proxy.listen(stack.gatewayPorts);
  scene = new Scene(() => stack);
  await scene.furnish();
});

afterEach(async () => {
  page.close();
  await proxy.close();
});

function newPage(): Page {
  return new Page(stack, { url: proxy.url, user: scene.member, projects: scene.projects });
}

/** What the page shows comes to be what the database says. */
async function untilTrue(queryKey: readonly unknown[]): Promise<void> {
  const truth = JSON.stringify(await stack.read(queryKey, scene.member));
  const shown = (): string => JSON.stringify(page.client.getQueryData(queryKey));
  await eventually(() => shown() === truth, shown);
}

it('where WebSockets are blocked, a mount and an own mutation refetch', async () => {
  proxy.cut();
  page = newPage();
  page.connect();
  const task = ['tasks', 'detail', scene.first.task];
  page.show(task);
  await untilTrue(task);

  page.hide(task);
  await scene.retitle(scene.first);
  page.show(task);
  await untilTrue(task);

  await page.mutate(() => scene.retitle(scene.first));
  await untilTrue(task);

  proxy.mend();
  await page.untilLive();
  await page.caughtUp(...scene.projects);
  page.takeFetched();
  await scene.retitle(scene.first);
  await page.caughtUp(scene.first.project);
  expect(page.takeFetched()).toEqual(names(task));
  await untilTrue(task);
});

it('a query cache that is bound again catches up with the project that changed', async () => {
  page = newPage();
  page.connect();
  const lists = scene.projects.map((id) => ['sprints', 'list', id]);
  page.show(...lists);
  await page.untilLive();
  await page.caughtUp(...scene.projects);
  page.unbind();
  page.takeFetched();
  const events = page.events.length;
  await scene.rename(scene.second);
  await eventually(
    () => page.events.length > events,
    () => page.events,
  );
  page.bind();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual(names(['sprints', 'list', scene.second.project]));
  await untilTrue(['sprints', 'list', scene.second.project]);
});
