import type { AsyncStorage } from '@tanstack/query-persist-client-core';

const STORE = 'entries';

/**
 * A storage in IndexedDB, for caches larger than `localStorage` allows (about 5 MB) or too large to
 * write synchronously on the main thread.
 *
 * @param name - name of the database; default `neverstale`
 */
export function indexedDbStorage(name = 'neverstale'): AsyncStorage {
  let opening: Promise<IDBDatabase> | undefined;

  function open(): Promise<IDBDatabase> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STORE);
    };
    return toPromise(request);
  }

  async function store(mode: IDBTransactionMode): Promise<IDBObjectStore> {
    opening ??= open();
    const database = await opening;
    return database.transaction(STORE, mode).objectStore(STORE);
  }

  return {
    getItem: async (key) =>
      toPromise((await store('readonly')).get(key) as IDBRequest<string | undefined>),
    setItem: async (key, value) => toPromise((await store('readwrite')).put(value, key)),
    removeItem: async (key) => toPromise((await store('readwrite')).delete(key)),
  };
}

function toPromise<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(request.error ?? new Error('IndexedDB failed'));
    };
  });
}
