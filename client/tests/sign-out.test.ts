import { QueryClient } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { persistQueryClient, type Persistence } from '../src/persist/index.js';
import { readCursors } from '../src/tanstack/index.js';
import { memoryStorage, Page, TASK, visit, type Storage } from './stored-page.js';
import { pass } from './world.js';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, 'warn').mockReturnValue();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
describe('at sign-out', () => {
  it('nothing is left, and no later write brings it back', async () => {
    const storage = memoryStorage();
    const page = await visit(storage);
    page.client.setQueryData(TASK, 'saved at once');
    await pass(100);
    page.client.setQueryData(TASK, 'to be saved within the second');
    await page.persistence.clear();
    page.client.setQueryData(TASK, 'later');
    await pass(5_000);
    expect(storage.kept.size).toBe(0);
    page.leave();
  });

  it('a synchronous storage and the query client are empty at once', async () => {
    const storage = memoryStorage();
    const page = await visit(storage);
    const cleared = page.persistence.clear();
    expect(storage.kept.size).toBe(0);
    expect(page.client.getQueryCache().getAll()).toEqual([]);
    await cleared;
    page.leave();
  });

  it('what a write in progress stores is removed too', async () => {
    const storage = memoryStorage();
    let isSlow = false;
    const setItem = async (key: string, value: string): Promise<void> => {
      if (isSlow) await pass(500);
      storage.kept.set(key, value);
    };
    const page = await visit({ ...storage, setItem });
    isSlow = true;
    page.client.setQueryData(TASK, 'v2');
    await Promise.resolve();
    await page.persistence.clear();
    expect(storage.kept.size).toBe(0);
    page.leave();
  });

  it("the user's other tabs stop saving", async () => {
    const storage = memoryStorage();
    const page = await visit(storage);
    const other = await Page.load(storage);
    await page.persistence.clear();
    await vi.waitFor(async () => {
      other.client.setQueryData(TASK, Date.now());
      await pass(2_000);
      expect(storage.kept.size).toBe(0);
    });
    page.leave();
    other.leave();
  });

  it('a cache that is still being read is not restored', async () => {
    const storage = memoryStorage();
    (await visit(storage)).leave();
    const queryClient = new QueryClient();
    const { restored, clear } = persistQueryClient({
      queryClient,
      storage: { ...storage, getItem: async (key) => (await pass(500), storage.getItem(key)) },
      userId: 'U',
      schemaVersion: 1,
    });
    await clear();
    await restored;
    expect(queryClient.getQueryData(TASK)).toBeUndefined();
    expect(storage.kept.size).toBe(0);
  });
});

describe('another user in the same page', () => {
  const persistFor = (queryClient: QueryClient, userId: string, storage: Storage): Persistence =>
    persistQueryClient({ queryClient, storage, userId, schemaVersion: 1 });

  it('starts without what the first user saw, and without its cursors', async () => {
    const storage = memoryStorage();
    const page = await visit(storage);
    const { restored, stop } = persistFor(page.client, 'other', storage);
    expect(page.client.getQueryData(TASK)).toBeUndefined();
    expect(readCursors(page.client)).toEqual({});
    await restored;
    expect(page.client.getQueryData(TASK)).toBeUndefined();
    page.client.setQueryData(TASK, 'of the other user');
    await pass(5_000);
    expect(storage.kept.get('neverstale')).toContain('[\\"other\\",1]');
    stop();
    page.leave();
  });

  it('does not get a cache of the first that is read late', async () => {
    const storage = memoryStorage();
    (await visit(storage)).leave();
    const slow = {
      ...storage,
      getItem: async (key: string) => (await pass(500), storage.getItem(key)),
    };
    const queryClient = new QueryClient();
    const first = persistFor(queryClient, 'U', slow);
    const second = persistFor(queryClient, 'other', memoryStorage());
    await Promise.all([first.restored, second.restored]);
    expect(queryClient.getQueryData(TASK)).toBeUndefined();
    second.stop();
  });

  it('the same user keeps the cache, saved once', async () => {
    const storage = memoryStorage();
    const saves = vi.spyOn(storage, 'setItem');
    const page = await visit(storage);
    const { restored, stop } = persistFor(page.client, 'U', storage);
    await restored;
    expect(page.client.getQueryData(TASK)).toBe('v1');
    saves.mockClear();
    page.client.setQueryData(TASK, 'v2');
    await pass(5_000);
    expect(saves).toHaveBeenCalledOnce();
    stop();
    page.leave();
  });
});
