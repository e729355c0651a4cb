import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, expect, it } from 'vitest';

import type { ConnectionOptions } from '../../src/index.js';
import { eventually, names, Page } from './page.js';
import { Proxy } from './proxy.js';
import { Scene } from './scene.js';
import { Stack } from './stack.js';

const TOKEN_SECONDS = 3;
/** When even a server whose clock is behind (`JWT_LEEWAY_SECONDS`, 5) has ended the socket. */
const OVER_MS = (TOKEN_SECONDS + 5 + 2) * 1_000;

let stack: Stack;
let proxy: Proxy;

beforeAll(async () => {
  stack = await Stack.shared();
  proxy = await Proxy.listen(stack.gatewayPorts);
});

afterAll(async () => {
  await proxy.close();
});

/** A live page with everything on the screen, whose first token is about to expire. */
async function shortLivedPage(
  scene: Scene,
  renew: (call: number) => string | null | Promise<string>,
): Promise<{ page: Page; asked: boolean[] }> {
  await scene.furnish();
  const asked: boolean[] = [];
  const getToken: ConnectionOptions['getToken'] = ({ refresh }) => {
    asked.push(refresh);
    if (asked.length === 1) return stack.token(scene.member, TOKEN_SECONDS);
    return renew(asked.length);
  };
  const page = await Page.live(stack, {
    url: proxy.url,
    user: scene.member,
    projects: scene.projects,
    connection: { getToken },
  });
  page.show(...scene.queries);
  await page.caughtUp(...scene.projects);
  page.takeFetched();
  page.events = [];
  return { page, asked };
}

it('a token is renewed in band: the socket outlives it', async () => {
  const scene = new Scene(() => stack);
  const { page, asked } = await shortLivedPage(scene, () => stack.token(scene.member));
  await eventually(
    () => asked.length === 2,
    () => asked,
  );
  await sleep(OVER_MS);
  await scene.sendMessage(scene.first);
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual(names(['messages', 'list', scene.first.project]));
  expect(asked).toEqual([false, true]);
  expect(page.sockets).toBe(1);
  page.close();
});

it('a token that is not renewed ends the socket, and a new one resumes', async () => {
  const scene = new Scene(() => stack);
  let isSignedOut = true;
  const { page, asked } = await shortLivedPage(scene, () => {
    if (isSignedOut) throw new Error('signed out for a moment');
    return stack.token(scene.member);
  });
  await eventually(
    () => page.closeCodes.length > 0,
    () => page.closeCodes,
  );
  isSignedOut = false;
  await scene.sendMessage(scene.first);
  await page.caughtUp(...scene.projects);
  expect(page.closeCodes).toEqual([4401]);
  expect(page.takeFetched()).toEqual(names(['messages', 'list', scene.first.project]));
  expect(page.resets()).toEqual([]);
  expect(asked.slice(1)).not.toContain(false);
  page.close();
});

it('a renewal that fails is repeated before the token expires: the socket outlives it', async () => {
  const scene = new Scene(() => stack);
  const { page, asked } = await shortLivedPage(scene, (call) => {
    if (call < 4) throw new Error('the API is restarting');
    return stack.token(scene.member);
  });
  await sleep(OVER_MS);
  await scene.sendMessage(scene.first);
  await page.caughtUp(...scene.projects);
  expect(asked).toEqual([false, true, true, true]);
  expect(page.sockets).toBe(1);
  page.close();
});

it('a renewal without a user closes the socket, until reconnect, which resumes', async () => {
  const scene = new Scene(() => stack);
  const { page, asked } = await shortLivedPage(scene, (call) =>
    call === 2 ? null : stack.token(scene.member),
  );
  await eventually(
    () => page.connection.status() === 'unauthorized',
    () => page.connection.info(),
  );
  expect(page.connection.status(scene.first.project)).toBe('unauthorized');
  await scene.sendMessage(scene.first);
  expect(asked).toEqual([false, true]);
  page.connection.reconnect();
  await page.caughtUp(...scene.projects);
  expect(page.takeFetched()).toEqual(names(['messages', 'list', scene.first.project]));
  expect(page.resets()).toEqual([]);
  page.close();
});
