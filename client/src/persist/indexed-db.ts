import type { AsyncStorage } from '@tanstack/query-persist-client-core';

import { withTimeout } from './timeout.js';

const STORE = 'entries';
/** Some browsers never answer `open`, and another tab's old version of the database blocks it. */
const OPEN_MS = 2_000;

/**
 * A storage in IndexedDB, for caches larger than `localStorage` allows (about 5 MB) or too large to
 * write synchronously on the main thread. It opens the database again if the browser closed it.
 *
 * Its promises reject if IndexedDB is not available, or does not open within 2 s.
 *
 * @param name - name of the database; default `neverstale`
 */
export function indexedDbStorage(name = 'neverstale'): AsyncStorage {
  let database: IDBDatabase | undefined;
  let opening: Promise<IDBDatabase> | undefined;

  async function open(): Promise<IDBDatabase> {
    const request = indexedDB.open(name, 1);
    let isLate = false;
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STORE);
    };
    const opened = new Promise<IDBDatabase>((resolve, reject) => {
      request.onsuccess = () => {
        if (isLate) request.result.close();
        else resolve(request.result);
      };
      request.onerror = () => {
        reject(request.error ?? new Error('IndexedDB failed'));
      };
    });
    try {
      database = await withTimeout(opened, OPEN_MS, 'IndexedDB does not open');
    } catch (error) {
      isLate = true;
      throw error;
    }
    const forget = (): void => {
      database = undefined;
    };
    database.onclose = forget;
    // Another tab deletes the database or upgrades it, and waits until we have closed it.
    database.onversionchange = () => {
      forget();
      request.result.close();
    };
    return database;
  }

  /** Run one request. If the database is open, its transaction begins before this returns. */
  async function run<T>(
    mode: IDBTransactionMode,
    start: (store: IDBObjectStore) => IDBRequest<T>,
  ): Promise<T> {
    if (database !== undefined) {
      try {
        return await transact(database, mode, start);
      } catch (error) {
        if (!isConnectionLost(error)) throw error;
        database = undefined;
      }
    }
    opening ??= open().finally(() => {
      opening = undefined;
    });
    return transact(await opening, mode, start);
  }

  return {
    getItem: (key) => run('readonly', (store) => store.get(key) as IDBRequest<string | undefined>),
    setItem: (key, value) => run('readwrite', (store) => store.put(value, key)),
    removeItem: (key) => run('readwrite', (store) => store.delete(key)),
  };
}

/** Resolve once the transaction is complete: a full disk fails it after its request succeeded. */
function transact<T>(
  database: IDBDatabase,
  mode: IDBTransactionMode,
  start: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(STORE, mode);
    const request = start(transaction.objectStore(STORE));
    transaction.oncomplete = () => {
      resolve(request.result);
    };
    transaction.onabort = () => {
      reject(transaction.error ?? new DOMException('IndexedDB was closed', 'AbortError'));
    };
    // Without this a page that navigates at once may abort it.
    transaction.commit();
  });
}

/** Whether the browser closed the database, of which the event may come late or never. */
function isConnectionLost(error: unknown): boolean {
  return error instanceof DOMException && ['InvalidStateError', 'AbortError'].includes(error.name);
}
