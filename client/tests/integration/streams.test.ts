import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Scene } from './scene.js';
import { Stack } from './stack.js';

let stack: Stack;
const scene = new Scene(() => stack);
const { first, second } = scene;
/** Of a network that lets no WebSocket through. */
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

/** A live page without a socket, everything on the screen, that has nothing left to hear. */
async function blockedPage(): Promise<Page> {
  proxy.refusesUpgrades = true;
  const page = await Page.live(stack, {
    url: proxy.url,
    user: scene.owner,
    projects: scene.projects,
  });
  pages.push(page);
  expect(page.closeCodes).toEqual([1006, 1006]);
  expect(page.streams).toBeGreaterThan(0);
  page.show(...scene.queries);
  await page.caughtUp(...scene.projects);
  page.takeFetched();
  page.events = [];
  return page;
}

it('a page without a socket is live, and resumes after a cut', async () => {
  const page = await blockedPage();
  await scene.rename(first);
  await page.caughtUp(first.project);
  expect(page.takeFetched()).toEqual(
    names(
      ['sprints', 'detail', first.sprint],
      ['sprints', 'list', first.project],
      ['projects', 'bundle', first.project],
    ),
  );
  proxy.cut();
  await scene.rename(second);
  proxy.mend();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual(
    names(
      ['sprints', 'detail', second.sprint],
      ['sprints', 'list', second.project],
      ['projects', 'bundle', second.project],
    ),
  );
  expect(page.resets()).toEqual([]);
});

it('a page returns to a socket once one gets through, and refetches nothing', async () => {
  const page = await blockedPage();
  const { streams } = page;
  proxy.refusesUpgrades = false;
  await eventually(
    // One to try, one to stay.
    () => page.sockets === 4 && page.closeCodes.length === 3,
    () => [page.sockets, page.closeCodes],
  );
  await page.untilLive();
  await page.caughtUp(...scene.projects);
  expect(page.streams).toBe(streams);
  expect(page.takeFetched()).toEqual([]);
  expect(page.resets()).toEqual([]);
});
