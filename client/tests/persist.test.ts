import 'fake-indexeddb/auto';
import { forceCloseDatabase } from 'fake-indexeddb';

import {
  dehydrate,
  hydrate,
  MutationObserver,
  QueryClient,
  QueryObserver,
} from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi, type MockInstance } from 'vitest';

import { createConnection } from '../src/index.js';
import {
  indexedDbStorage,
  neverstaleDefaults,
  persistQueryClient,
  type Persistence,
  type PersistOptions,
} from '../src/persist/index.js';
import { connectQueryClient, readCursors } from '../src/tanstack/index.js';
import { stampFetches } from '../src/tanstack/hydration.js';
import { change } from './core/script.js';
import { optionsIn, pass, World, type FakeSocket } from './world.js';

const TASK = ['tasks', 'detail', 'T'];
const LIST = ['tasks', 'list', 'P'];
const DAY_MS = 24 * 60 * 60 * 1_000;

type Storage = Exclude<PersistOptions['storage'], () => unknown>;

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

  private constructor(storage: PersistOptions['storage'], options: Partial<PersistOptions>) {
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
    this.persistence = persistQueryClient(how);
    this.leaves.push(this.persistence.stop);
  }

  readonly persistence: Persistence;

  static async load(
    storage: PersistOptions['storage'],
    options: Partial<PersistOptions> = {},
  ): Promise<Page> {
    const page = new Page(storage, options);
    await pass(10);
    await page.persistence.restored;
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
async function visit(storage: PersistOptions['storage']): Promise<Page> {
  const page = await Page.load(storage);
  page.socket.connected(['P']);
  page.show(TASK, LIST);
  await pass(2_000);
  return page;
}

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

describe('a storage that fails', () => {
  const fail = (): never => {
    throw new DOMException('denied', 'SecurityError');
  };
  const reject = (): Promise<never> => Promise.reject(new Error('broken'));
  const hang = (): Promise<never> => new Promise(() => undefined);

  it.each<[string, PersistOptions['storage']]>([
    ['when it is named', fail],
    ['in every call', { getItem: fail, setItem: fail, removeItem: fail }],
    ['in every answer', { getItem: reject, setItem: reject, removeItem: reject }],
    ['by never answering', { getItem: hang, setItem: hang, removeItem: hang }],
    ['by being null', null as unknown as Storage],
    ['when it writes', { ...memoryStorage(), setItem: reject }],
    ['with what is not JSON', { ...memoryStorage(), getItem: () => '{', removeItem: reject }],
  ])('%s costs one warning, and the app works without it', async (_, storage) => {
    const loading = Page.load(storage);
    await pass(5_000);
    const page = await loading;
    page.socket.connected(['P']);
    page.show(TASK);
    await pass(2_000);
    page.client.setQueryData(TASK, 'v2');
    await pass(2_000);
    expect(page.client.getQueryData(TASK)).toBe('v2');
    expect(warnings).toHaveBeenCalledOnce();
    expect(warnings.mock.lastCall?.[0]).toMatch(/^neverstale: the query cache cannot be stored/);
    page.leave();
  });

  it('for a time: what cannot be saved is left unsaved, until it can', async () => {
    const storage = memoryStorage();
    let isBroken = true;
    const setItem = (key: string, value: string): void => {
      if (isBroken) fail();
      storage.kept.set(key, value);
    };
    const page = await visit({ ...storage, setItem });
    expect(storage.kept.size).toBe(0);
    isBroken = false;
    page.client.setQueryData(TASK, 'v2');
    await pass(2_000);
    expect(storage.kept.get('neverstale')).toContain('v2');
    page.leave();
  });

  it('because it is full keeps the newest queries, and the cursors', async () => {
    const storage = memoryStorage();
    let writes = 0;
    const setItem = (key: string, value: string): void => {
      writes += 1;
      if (value.length > 20_000) throw new DOMException('full', 'QuotaExceededError');
      storage.kept.set(key, value);
    };
    const page = await visit({ ...storage, setItem });
    for (let n = 0; n < 100; n += 1) {
      await pass(1);
      page.client.setQueryData(['big', n], 'x'.repeat(500));
    }
    writes = 0;
    await pass(2_000);
    const kept = storage.kept.get('neverstale') ?? '';
    expect(kept).toContain('["big",99]');
    expect(kept).not.toContain('["big",0]');
    expect(kept).toContain('project:P@1');
    expect(writes).toBeLessThan(20);
    expect(warnings).not.toHaveBeenCalled();
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

describe('indexedDbStorage', () => {
  let opened: IDBDatabase[];

  beforeEach(() => {
    vi.useRealTimers();
    opened = [];
    const open = indexedDB.open.bind(indexedDB);
    vi.spyOn(indexedDB, 'open').mockImplementation((...args) => {
      const request = open(...args);
      request.addEventListener('success', () => opened.push(request.result));
      return request;
    });
  });

  it('keeps entries, and drops them', async () => {
    const storage = indexedDbStorage('test');
    expect(await storage.getItem('a')).toBeUndefined();
    await storage.setItem('a', '1');
    await storage.setItem('a', '2');
    expect(await indexedDbStorage('test').getItem('a')).toBe('2');
    await storage.removeItem('a');
    expect(await storage.getItem('a')).toBeUndefined();
    expect(opened).toHaveLength(2);
  });

  it.each<[string, (database: IDBDatabase) => void]>([
    [
      'with an event',
      (database) => {
        forceCloseDatabase(database as never);
      },
    ],
    [
      'silently',
      (database) => {
        database.close();
      },
    ],
  ])('opens the database again that the browser closed %s', async (_, close) => {
    const storage = indexedDbStorage('closed');
    await storage.setItem('a', '1');
    for (const database of opened) close(database);
    expect(await storage.getItem('a')).toBe('1');
    expect(opened).toHaveLength(2);
  });

  it('lets another tab delete the database, and makes a new one', async () => {
    const storage = indexedDbStorage('deleted');
    await storage.setItem('a', '1');
    const deleting = indexedDB.deleteDatabase('deleted');
    await new Promise((resolve) => (deleting.onsuccess = resolve));
    expect(await storage.getItem('a')).toBeUndefined();
    await storage.setItem('a', '2');
    expect(await storage.getItem('a')).toBe('2');
  });

  it('fails where the database does, and tries again', async () => {
    const newer = indexedDB.open('newer', 2);
    await new Promise((resolve) => (newer.onsuccess = resolve));
    newer.result.close();
    const storage = indexedDbStorage('newer');
    await expect(storage.getItem('a')).rejects.toThrow();
    const deleting = indexedDB.deleteDatabase('newer');
    await new Promise((resolve) => (deleting.onsuccess = resolve));
    expect(await storage.getItem('a')).toBeUndefined();
  });

  it('fails where there is none', async () => {
    vi.stubGlobal('indexedDB', undefined);
    await expect(indexedDbStorage().getItem('a')).rejects.toThrow();
    vi.unstubAllGlobals();
  });

  it('does not wait for a database that does not open, and closes it if it opens later', async () => {
    vi.useFakeTimers();
    const request = {} as IDBOpenDBRequest;
    vi.spyOn(indexedDB, 'open').mockReturnValue(request);
    const storage = indexedDbStorage('hangs');
    const failed = expect(storage.getItem('a')).rejects.toThrow('does not open');
    await pass(2_000);
    await failed;
    const close = vi.fn();
    Object.assign(request, { result: { close } });
    request.onsuccess?.(new Event('success'));
    expect(close).toHaveBeenCalledOnce();
  });

  it('fails when a write is aborted after its request succeeded, as on a full disk', async () => {
    const storage = indexedDbStorage('full');
    await storage.setItem('a', '1');
    const put = vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementation(function (
      this: IDBObjectStore,
    ) {
      const request = this.get('a') as IDBRequest<unknown> as IDBRequest<IDBValidKey>;
      request.onsuccess = () => {
        this.transaction.abort();
      };
      return request;
    });
    vi.spyOn(IDBTransaction.prototype, 'commit').mockReturnValue();
    await expect(storage.setItem('a', '2')).rejects.toThrow();
    put.mockRestore();
    expect(await storage.getItem('a')).toBe('1');
  });
});
