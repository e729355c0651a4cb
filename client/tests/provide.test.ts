import { QueryClient } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { provide } from '../src/frameworks/provide.js';
import type { Connection } from '../src/index.js';
import { Hub } from './tabs/hub.js';
import { pass, World } from './world.js';

let world: World;
let created: Connection[];

function start(): () => void {
  const tabs = new Hub().tab('one');
  const options = { url: 'wss://live.example.com/ws', getToken: () => 'T', environment: world };
  const queryClient = new QueryClient();
  return provide(
    () => ({ ...options, queryClient, tabs, shareTabsOf: 'U' }),
    (connection) => created.push(connection),
  );
}

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
  created = [];
});

afterEach(() => {
  for (const connection of created) connection.close();
  vi.doUnmock('../src/tabs/index.js');
  vi.useRealTimers();
});

it('connects when the code for sharing tabs is loaded', async () => {
  start();
  expect(created).toEqual([]);
  await vi.waitFor(() => {
    expect(world.openSockets).toHaveLength(1);
  });
  expect(created).toHaveLength(1);
});

it('does not connect if it is stopped before that code is loaded', async () => {
  start()();
  await vi.dynamicImportSettled();
  await pass();
  expect(created).toEqual([]);
  expect(world.sockets).toEqual([]);
});

it('gives the tab a socket of its own if that code cannot be loaded', async () => {
  vi.doMock('../src/tabs/index.js', () => {
    throw new Error('404');
  });
  const stop = start();
  await vi.waitFor(() => {
    expect(world.openSockets).toHaveLength(1);
  });
  expect(world.warnings.join()).toContain('tabs are not shared');
  stop();
  await pass();
  expect(world.openSockets).toEqual([]);
});
