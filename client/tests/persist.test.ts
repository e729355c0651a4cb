import { dehydrate, hydrate, MutationObserver, QueryClient } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi, type MockInstance } from 'vitest';

import { createConnection } from '../src/index.js';
import { neverstaleDefaults, persistQueryClient } from '../src/persist/index.js';
import { stampFetches } from '../src/tanstack/hydration.js';
import { connectQueryClient } from '../src/tanstack/index.js';
import { change } from './core/script.js';
import { LIST, memoryStorage, Page, TASK, visit } from './stored-page.js';
import { optionsIn, pass, World } from './world.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

let warnings: MockInstance<typeof console.warn>;

beforeEach(() => {
  vi.useFakeTimers();
  warnings = vi.spyOn(console, 'warn').mockReturnValue();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
describe('after a reload', () => {
  it.each([
    ['at once', 1_000],
    ['after most of a day asleep', DAY_MS - 60_000],
  ])('%s exactly what was missed is fetched anew', async (_, away) => {
    const storage = memoryStorage();
    (await visit(storage)).leave();
    await pass(away);
    const page = await Page.load(storage);
    page.show(TASK, LIST);
    expect(page.since).toEqual(['user:U@1', 'project:P@1']);
    expect(page.client.getQueryData(TASK)).toBe('v1');
    page.socket.connected(['P']);
    page.socket.frame(change('P', 7, { resource: 'task', data: { id: 'other', timestamp: '' } }));
    await pass(20);
    expect(page.fetched).toEqual(['tasks/list/P']);
    page.leave();
  });

  it('a page closed before its refetch settled does not keep old data as fresh', async () => {
    const storage = memoryStorage();
    const first = await visit(storage);
    first.row = undefined;
    first.socket.change('P', 7);
    await pass(5_000);
    first.leave();
    const page = await Page.load(storage);
    page.row = 'v2';
    expect(page.since).toContain('project:P@1');
    page.show(TASK);
    await pass(20);
    expect(page.client.getQueryData(TASK)).toBe('v2');
    page.leave();
  });

  it('a page closed right after a write over stale data does not keep it as fresh', async () => {
    const storage = memoryStorage();
    const first = await Page.load(storage);
    first.socket.connected(['P']);
    first.client.setQueryData(TASK, 'v1');
    await pass(2_000);
    first.socket.change('P', 7);
    await pass(5_000);
    first.client.setQueryData(TASK, (old: unknown) => `${String(old)}, patched`);
    await pass(500);
    first.leave();
    const page = await Page.load(storage);
    page.row = 'v2';
    expect(page.since).toContain('project:P@7');
    expect(page.client.getQueryData(TASK)).toBe('v1, patched');
    page.show(TASK);
    await pass(20);
    expect(page.client.getQueryData(TASK)).toBe('v2');
    page.leave();
  });

  it('a page closed during a mutation does not keep what that has written', async () => {
    const storage = memoryStorage();
    const first = await visit(storage);
    const mutation = new MutationObserver(first.client, {
      mutationFn: () => new Promise(() => undefined),
      onMutate: () => {
        first.client.setQueryData(TASK, 'optimistic');
      },
    });
    void mutation.mutate();
    await pass(2_000);
    expect(first.client.getQueryData(TASK)).toBe('optimistic');
    first.leave();
    const page = await Page.load(storage);
    expect(page.client.getQueryData(TASK)).toBe('v1');
    page.leave();
  });

  it('a mutation that does not end stops no saving', async () => {
    const storage = memoryStorage();
    const first = await visit(storage);
    void new MutationObserver(first.client, {
      mutationFn: () => new Promise(() => undefined),
    }).mutate();
    await pass(6_000);
    first.client.setQueryData(TASK, 'v2');
    await pass(2_000);
    first.leave();
    const page = await Page.load(storage);
    expect(page.client.getQueryData(TASK)).toBe('v2');
    page.leave();
  });

  it('what a server rendered at first is not fetched again', async () => {
    const storage = memoryStorage();
    const server = new QueryClient();
    const cursors = { 'project:P': 'project:P@1', 'user:U': 'user:U@1' };
    stampFetches(server, cursors);
    await server.query({ queryKey: LIST, queryFn: () => 'rendered' });
    const first = await Page.load(storage);
    first.socket.connected(['P']);
    hydrate(first.client, dehydrate(server));
    first.show(LIST);
    first.socket.frame(change('P', 7, { resource: 'sprint' }));
    await pass(2_000);
    first.leave();
    const page = await Page.load(storage);
    expect(page.since).toContain('project:P@7');
    page.socket.connected(['P'], { cursors: { ...cursors, 'project:P': 'project:P@7' } });
    page.show(LIST);
    await pass(2_000);
    expect(page.client.getQueryData(LIST)).toBe('rendered');
    expect([...first.fetched, ...page.fetched]).toEqual([]);
    page.leave();
  });

  it('what settled is not fetched again', async () => {
    const storage = memoryStorage();
    const first = await visit(storage);
    first.row = 'v2';
    first.socket.change('P', 7);
    await pass(5_000);
    first.leave();
    const page = await Page.load(storage);
    expect(page.since).toContain('project:P@7');
    page.show(TASK, LIST);
    page.socket.connected(['P']);
    await pass(5_000);
    expect(page.fetched).toEqual([]);
    expect(page.client.getQueryData(TASK)).toBe('v2');
    page.leave();
  });
});

describe('a cache is thrown away, cursors and all', () => {
  it.each([
    ["when it is another user's", { userId: 'other' }, 0],
    ['when it is of another schema', { schemaVersion: 2 }, 0],
    ['when it is older than a day', {}, DAY_MS + 1],
    ['when it is older than maxAgeMs', { maxAgeMs: 1_000 }, 5_000],
  ])('%s', async (_, options, away) => {
    const storage = memoryStorage();
    (await visit(storage)).leave();
    await pass(away);
    const page = await Page.load(storage, options);
    expect(page.client.getQueryData(TASK)).toBeUndefined();
    expect(page.since).toEqual([]);
    page.leave();
  });

  it('when it cannot be read', async () => {
    const storage = memoryStorage();
    storage.kept.set('neverstale', '{');
    const page = await Page.load(storage);
    expect(page.since).toEqual([]);
    expect(storage.kept.has('neverstale')).toBe(false);
    expect(warnings).toHaveBeenCalledOnce();
    page.leave();
  });
});

it('restored after connecting all the same, it is stale', async () => {
  const storage = memoryStorage();
  (await visit(storage)).leave();
  const slow = {
    ...storage,
    getItem: async (key: string) => (await pass(500), storage.getItem(key)),
  };
  const world = new World();
  const queryClient = new QueryClient({ defaultOptions: neverstaleDefaults });
  const { restored, stop } = persistQueryClient({
    queryClient,
    storage: slow,
    userId: 'U',
    schemaVersion: 1,
  });
  const connection = createConnection(optionsIn(world, { projectId: 'P' }));
  const disconnect = connectQueryClient(connection, queryClient);
  await pass();
  world.socket.connected(['P']);
  await restored;
  expect(queryClient.getQueryCache().find({ queryKey: TASK })?.isStale()).toBe(true);
  stop();
  disconnect();
  connection.close();
});
