import { setTimeout as sleep } from 'node:timers/promises';

import { expect, it } from 'vitest';

import { Scene } from './scene.js';
import { names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Stack } from './stack.js';

/**
 * What a client promises by its age (60 s) is proved by a tick that is older by the longest
 * handshake (5 s) and a margin (1 s); ticks come each second.
 */
const PROOF_MS = 68_000;

it('a page that has just been loaded fetches nothing twice', { timeout: 90_000 }, async () => {
  const stack = await Stack.shared();
  const proxy = await Proxy.listen(stack.gatewayPorts);
  const scene = new Scene(() => stack);
  await scene.furnish();
  const { owner, projects } = scene;
  const earlier = await Page.live(stack, { url: proxy.url, user: owner, projects }); // now there are logs
  await sleep(PROOF_MS);
  earlier.close();

  const page = new Page(stack, { url: proxy.url, user: owner });
  page.show(...scene.queries);
  await page.settled();
  expect(page.takeFetched()).toEqual(names(...scene.queries));

  await scene.retitle(scene.first);
  page.connect();
  for (const projectId of projects) page.enter(projectId);
  await page.caughtUp(...projects);
  const fetched = page.takeFetched();
  expect(fetched).toContain(`tasks/detail/${scene.first.task}`);
  expect(fetched.filter((name) => !name.startsWith('tasks/'))).toEqual([]);
  expect(page.stale()).toEqual([]);
  page.close();
  await proxy.close();
});
