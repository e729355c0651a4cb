import 'fake-indexeddb/auto';
import { forceCloseDatabase } from 'fake-indexeddb';

import { afterEach, beforeEach, describe, expect, it, vi, type MockInstance } from 'vitest';

import { indexedDbStorage, type PersistOptions } from '../src/persist/index.js';
import { memoryStorage, Page, TASK, visit, type Storage } from './stored-page.js';
import { pass } from './world.js';

let warnings: MockInstance<typeof console.warn>;

beforeEach(() => {
  vi.useFakeTimers();
  warnings = vi.spyOn(console, 'warn').mockReturnValue();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
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
