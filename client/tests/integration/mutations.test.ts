import { MutationObserver, QueryObserver } from '@tanstack/query-core';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Scene } from './scene.js';
import { Stack } from './stack.js';

interface Task {
  title: string;
}

let stack: Stack;
const scene = new Scene(() => stack);
const { project, task } = scene.first;
const TASK = ['tasks', 'detail', task];
let proxy: Proxy;
let page: Page;
let titles: (string | undefined)[];

beforeAll(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
  await scene.furnish();
});

/** A page with the task on the screen, and every title that it showed. */
async function watch(): Promise<void> {
  await stack.sql(`update tasks set title = 'Work' where id = $1`, task);
  page = await Page.live(stack, {
    url: proxy.url,
    user: scene.owner,
    projects: [project],
    // A machine under load may take long.
    maxDeferMs: 60_000,
  });
  titles = [];
  const observer = new QueryObserver<Task[]>(page.client, { queryKey: TASK });
  observer.subscribe(({ data }) => {
    if (data?.[0]?.title !== titles.at(-1)) titles.push(data?.[0]?.title);
  });
  await page.caughtUp(project);
  page.takeFetched();
  page.events = [];
}

afterEach(() => {
  page.close();
});

afterAll(async () => {
  await proxy.close();
});

/** Retitle the task optimistically through the app's API. */
async function retitle(title: string, beforeResponse: () => Promise<void>): Promise<void> {
  const mutation = new MutationObserver(page.client, {
    mutationFn: async () => {
      await stack.sql('update tasks set title = $2 where id = $1', task, title);
      const response = await stack.read(TASK, scene.owner);
      await beforeResponse();
      return response;
    },
    onMutate: () => {
      page.client.setQueryData<Task[]>(TASK, (rows) => rows?.map((row) => ({ ...row, title })));
    },
    onSuccess: (response) => {
      page.client.setQueryData(TASK, response);
    },
  });
  await mutation.mutate();
}

function changes(): number {
  return page.events.filter((event) => event.type === 'change' && event.id === task).length;
}

it('an event that overtakes the response does not hide an optimistic value', async () => {
  await watch();
  await retitle('Mine', async () => {
    await page.caughtUp(project);
    expect(changes()).toBeGreaterThan(0);
    await scene.retitle(scene.first);
    await page.caughtUp(project);
    expect(page.takeFetched()).toEqual([]);
  });
  await page.caughtUp(project);
  await eventually(
    () => titles.at(-1) === 'Mine!',
    () => titles,
  );
  expect(titles).toEqual(['Work', 'Mine', 'Mine!']);
  expect(page.fetched).toEqual(names(TASK));
  expect(page.stale()).toEqual([]);
});

it('a response that overtakes the event is shown, and confirmed by one refetch', async () => {
  await watch();
  proxy.pause();
  await retitle('Mine', () => Promise.resolve());
  expect(changes()).toBe(0);
  expect(page.takeFetched()).toEqual([]);
  proxy.resume();
  await page.caughtUp(project);
  expect(page.fetched).toEqual(names(TASK));
  expect(titles).toEqual(['Work', 'Mine']);
  expect(page.stale()).toEqual([]);
});
