import { dehydrate, hydrate, QueryClient, type DehydratedState } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it } from 'vitest';

import { prefetchCursors } from '../../src/server/index.js';
import { names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Scene } from './scene.js';
import { Stack } from './stack.js';

let stack: Stack;
let proxy: Proxy;
let scene: Scene;
let live: Page;

beforeEach(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
  scene = new Scene(() => stack);
  await scene.furnish();
  live = await Page.live(stack, { url: proxy.url, user: scene.owner, projects: scene.projects });
});

afterEach(async () => {
  live.close();
  await proxy.close();
});

/** What a server sends that reads the cursors, and then everything. */
async function render(): Promise<DehydratedState> {
  const { owner, projects, queries } = scene;
  const client = new QueryClient();
  const url = proxy.url + stack.wsPath;
  await prefetchCursors(client, { url, token: await stack.token(owner), projectIds: projects });
  for (const queryKey of queries) {
    await client.query({ queryKey, queryFn: () => stack.read(queryKey, owner) });
  }
  return JSON.parse(JSON.stringify(dehydrate(client))) as DehydratedState;
}

/** A query cache with what a server rendered is bound to the connection that is live already. */
async function bind(state: DehydratedState): Promise<Page> {
  const page = new Page(stack, { url: proxy.url, user: scene.owner });
  hydrate(page.client, state);
  page.show(...scene.queries);
  page.join(live);
  await page.caughtUp(...scene.projects);
  return page;
}

it('what a server rendered is not fetched again by a page that is bound late', async () => {
  const page = await bind(await render());
  expect(page.takeFetched()).toEqual([]);
  expect(page.stale()).toEqual([]);

  await scene.rename(scene.first);
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toContain(`sprints/detail/${scene.first.sprint}`);
  page.unbind();
  page.clear();
});

it('what changed since a server rendered it is fetched again by a page that is bound late', async () => {
  const state = await render();
  await scene.retitle(scene.first);
  await live.caughtUp(scene.first.project);
  const page = await bind(state);
  const { project } = scene.second;
  // The cursors say which project has changed, not what of it.
  const mayHaveChanged = scene.queries.filter((queryKey) => !queryKey.includes(project));
  expect(page.takeFetched()).toEqual(names(...mayHaveChanged));
  expect(page.stale()).toEqual([]);
  for (const queryKey of scene.queries) {
    expect(page.client.getQueryData(queryKey)).toEqual(await stack.read(queryKey, scene.owner));
  }
  page.unbind();
  page.clear();
});
