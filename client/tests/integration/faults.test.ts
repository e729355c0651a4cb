import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { Scene } from './scene.js';
import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Stack } from './stack.js';

let stack: Stack;
const scene = new Scene(() => stack);
const { first } = scene;
let proxy: Proxy;
let pages: Page[] = [];

beforeAll(async () => {
  stack = await Stack.own({ gateways: 2, listeners: 1 });
  proxy = await Proxy.listen(stack.gatewayPorts);
  await scene.furnish();
});

afterEach(() => {
  for (const page of pages) page.close();
});

afterAll(async () => {
  await proxy.close();
});

/** Some live pages on both gateways, everything on the screen, that have nothing left to hear. */
async function livePages(): Promise<void> {
  pages = await Promise.all(
    Array.from({ length: 6 }, () =>
      Page.live(stack, {
        url: proxy.url,
        user: scene.owner,
        projects: scene.projects,
        random: Math.random,
      }),
    ),
  );
  for (const page of pages) page.show(...scene.queries);
  await caughtUp();
  for (const page of pages) {
    page.takeFetched();
    page.events = [];
  }
}

async function caughtUp(): Promise<void> {
  await Promise.all(pages.map((page) => page.caughtUp(...scene.projects)));
}

const MESSAGES = names(['messages', 'list', first.project]);

it.each([
  { how: 'is told to stop', action: 'stop', code: 1012 },
  { how: 'is killed', action: 'kill', code: 1006 },
] as const)('a gateway that $how costs nobody a reset', async ({ action, code }) => {
  await livePages();
  for (const gateway of ['gateway0', 'gateway1'] as const) {
    await stack.part(gateway, action);
    await scene.sendMessage(first);
    await caughtUp();
    await stack.part(gateway, 'start');
    await stack.part(gateway, 'ready');
    for (const page of pages) expect(page.takeFetched()).toEqual(MESSAGES);
  }
  for (const page of pages) {
    expect(page.resets()).toEqual([]);
    // Who comes back early may meet the one that is going once more, and is refused for now.
    expect(new Set(page.closeCodes.filter((other) => other !== 1013))).toEqual(new Set([code]));
    expect(page.stale()).toEqual([]);
  }
});

it('a listener that is killed costs nobody a reset', async () => {
  await livePages();
  await stack.part('listener0', 'kill');
  await scene.sendMessage(first);
  await scene.retitle(first);
  await stack.part('listener0', 'start');
  await caughtUp();
  const fetched = names(
    ['messages', 'list', first.project],
    ...scene.queries.filter(([kind, what]) => kind === 'tasks' && what === 'sprint'),
    ['tasks', 'list', first.project],
    ['tasks', 'detail', first.task],
  );
  for (const page of pages) {
    expect(page.takeFetched()).toEqual(fetched);
    expect(page.resets()).toEqual([]);
    expect(page.sockets).toBe(1);
  }
});

it('a TRUNCATE resets everybody once', async () => {
  await livePages();
  await stack.sql('truncate messages');
  await caughtUp();
  for (const page of pages) {
    expect(page.takeFetched()).toEqual(names(...scene.queries));
    expect(page.resets()).toEqual(['truncate']);
    expect(page.stale()).toEqual([]);
    expect(page.sockets).toBe(1);
  }
});

it('a Redis that lost everything resets everybody, and nothing is stale', async () => {
  await livePages();
  await stack.part('valkey', 'kill');
  await scene.sendMessage(first);
  await stack.part('valkey', 'start');
  await caughtUp();
  const truth = await stack.read(['messages', 'list', first.project], scene.owner);
  for (const page of pages) {
    expect(page.resets()).not.toEqual([]);
    expect(page.client.getQueryData(['messages', 'list', first.project])).toEqual(truth);
    expect(page.stale()).toEqual([]);
  }
});

it('while nobody tells what changes the status is degraded', async () => {
  await livePages();
  await stack.part('listener0', 'stop');
  const [page] = pages;
  await eventually(
    () => page?.connection.status() === 'degraded',
    () => page?.connection.status(),
  );
  await stack.part('listener0', 'start');
  await Promise.all(pages.map((each) => each.untilLive()));
});
