import 'fake-indexeddb/auto';

import { MutationObserver, QueryClient, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection } from '../src/index.js';
import {
  indexedDbStorage,
  neverstaleDefaults,
  persistQueryClient,
  type PersistOptions,
} from '../src/persist/index.js';
import { connectQueryClient, readCursors } from '../src/tanstack/index.js';
import { change } from './core/script.js';
import { optionsIn, pass, World, type FakeSocket } from './world.js';

const TASK = ['tasks', 'detail', 'T'];
const LIST = ['tasks', 'list', 'P'];
const DAY_MS = 24 * 60 * 60 * 1_000;

type Storage = PersistOptions['storage'];

function memoryStorage(): Storage & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

/** A page of an app: its memory goes when it is left, its storage stays. */
class Page {
  readonly world = new World();
  readonly fetched: string[] = [];
  readonly client: QueryClient;
  /** What the app's API answers; undefined: nothing yet. */
  row: string | undefined = 'v1';
  private readonly leaves: (() => void)[] = [];

  private constructor(storage: Storage, options: Partial<PersistOptions>) {
    this.client = new QueryClient({
      defaultOptions: {
        queries: {
          ...neverstaleDefaults.queries,
          queryFn: ({ queryKey }) => {
            this.fetched.push(queryKey.join('/'));
            return this.row ?? new Promise(() => undefined);
          },
        },
      },
    });
    const how = { queryClient: this.client, storage, userId: 'U', schemaVersion: 1, ...options };
    const { restored, stop } = persistQueryClient(how);
    this.leaves.push(stop);
    this.restored = restored;
  }

  readonly restored: Promise<void>;

  static async load(storage: Storage, options: Partial<PersistOptions> = {}): Promise<Page> {
    const page = new Page(storage, options);
    await pass(10);
    await page.restored;
    const cursors = readCursors(page.client);
    const connection = createConnection(optionsIn(page.world, { projectId: 'P', cursors }));
    page.leaves.push(connectQueryClient(connection, page.client), () => {
      connection.close();
    });
    await pass();
    return page;
  }

  show(...keys: string[][]): void {
    for (const queryKey of keys) {
      this.leaves.push(new QueryObserver(this.client, { queryKey }).subscribe(() => undefined));
    }
  }

  get socket(): FakeSocket {
    return this.world.socket;
  }

  get since(): string[] {
    return this.socket.url.searchParams.getAll('since');
  }

  leave(): void {
    for (const leave of this.leaves.reverse()) leave();
    this.client.clear();
  }
}

/** A page that has shown a task and its list, and was saved. */
async function visit(storage: Storage): Promise<Page> {
  const page = await Page.load(storage);
  page.socket.connected(['P']);
  page.show(TASK, LIST);
  await pass(2_000);
  return page;
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
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
    const errors = vi.spyOn(console, 'error').mockReturnValue();
    const warnings = vi.spyOn(console, 'warn').mockReturnValue();
    const page = await Page.load(storage);
    expect(page.since).toEqual([]);
    expect(storage.kept.has('neverstale')).toBe(false);
    expect(errors).toHaveBeenCalledOnce();
    expect(warnings).toHaveBeenCalledOnce();
    page.leave();
  });
});

it('what cannot be saved is left unsaved, until it can', async () => {
  const storage = memoryStorage();
  let isFull = true;
  const setItem = (key: string, value: string): void => {
    if (isFull) throw new Error('full');
    storage.kept.set(key, value);
  };
  const page = await visit({ ...storage, setItem });
  expect(storage.kept.size).toBe(0);
  isFull = false;
  page.client.setQueryData(TASK, 'v2');
  await pass(2_000);
  expect(storage.kept.get('neverstale')).toContain('v2');
  page.leave();
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

describe('indexedDbStorage', () => {
  it('keeps kept, and drops them', async () => {
    vi.useRealTimers();
    const storage = indexedDbStorage('test');
    expect(await storage.getItem('a')).toBeUndefined();
    await storage.setItem('a', '1');
    await storage.setItem('a', '2');
    expect(await indexedDbStorage('test').getItem('a')).toBe('2');
    await storage.removeItem('a');
    expect(await storage.getItem('a')).toBeUndefined();
  });

  it('fails where the database does', async () => {
    vi.useRealTimers();
    const newer = indexedDB.open('newer', 2);
    await new Promise((resolve) => (newer.onsuccess = resolve));
    newer.result.close();
    await expect(indexedDbStorage('newer').getItem('a')).rejects.toThrow();
  });
});
