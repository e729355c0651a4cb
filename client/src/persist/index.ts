import { createAsyncStoragePersister } from '@tanstack/query-async-storage-persister';
import {
  persistQueryClient as persist,
  type AsyncStorage,
  type PersistedClient,
  type PersistQueryClientOptions,
  type Persister,
} from '@tanstack/query-persist-client-core';

import { isInFlight, MAX_DEFER_MS } from '../tanstack/mutations.js';
import type { AnyQueryClient } from '../tanstack/query-client.js';
import { isOurs } from '../tanstack/stored-cursors.js';
import { guardStorage } from './guarded-storage.js';
import { openSignOutChannel } from './sign-out-channel.js';

const DAY_MS = 24 * 60 * 60 * 1_000;
const RESTORE_MS = 3_000;
/** Discarded because it has no time. */
const UNREADABLE: PersistedClient = {
  timestamp: 0,
  buster: '',
  clientState: { mutations: [], queries: [] },
};

type QueryClient = PersistQueryClientOptions['queryClient'];

export interface PersistOptions {
  queryClient: AnyQueryClient;
  /**
   * `() => localStorage`, `indexedDbStorage()`, or any object with the same three methods. As a
   * function, since a browser that blocks storage throws when it is named.
   */
  storage: AsyncStorage | (() => AsyncStorage);
  /**
   * The user who owns the cache. Another user's cache is discarded: what is stored, and what is in
   * the query client if it was persisted for another user before.
   */
  userId: string;
  /** Version of the cached data: change it when the shape of what queries return changes. */
  schemaVersion: string | number;
  /** An older cache is discarded, in milliseconds. Default: a day, the lifetime of cursors. */
  maxAgeMs?: number | undefined;
  /** Start without the stored cache if it is not read by then, in milliseconds. Default: 3,000. */
  restoreMs?: number | undefined;
  /** Name of the entry in the storage. Default: `neverstale`. */
  key?: string | undefined;
}

export interface Persistence {
  /**
   * Resolves when the cache is restored, or cannot be. Connect only then, with
   * `readCursors(queryClient)`. Never rejects.
   */
  readonly restored: Promise<void>;
  /** Stops saving; what is stored stays. */
  readonly stop: () => void;
  /**
   * For sign-out: stops saving, in this user's other tabs too, and removes the cache from the
   * storage and from the query client. With `localStorage` all of it is removed when this returns.
   *
   * @returns a promise that resolves once it is removed; it never rejects
   */
  readonly clear: () => Promise<void>;
}

/** The newest persistence of each query client. */
const owners = new WeakMap<QueryClient, { readonly userId: string; readonly stop: () => void }>();

/**
 * Restores a query cache together with its cursors, then saves both at most once a second, but not
 * while a mutation is in flight (for up to 5 s), whose optimistic values may not become true. A cache
 * that cannot be restored is discarded. If the storage fails, it warns once and the app works
 * without.
 */
export function persistQueryClient(options: PersistOptions): Persistence {
  const { userId, schemaVersion, key = 'neverstale' } = options;
  // It may be of another copy, whose class is the same but for its type.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  const queryClient = options.queryClient as QueryClient;
  const owner = owners.get(queryClient);
  owner?.stop();
  if (owner !== undefined && owner.userId !== userId) queryClient.clear();

  const storage = guardStorage(options.storage, options.restoreMs ?? RESTORE_MS);
  const persister = createAsyncStoragePersister({
    storage,
    key,
    deserialize(text) {
      try {
        return JSON.parse(text) as PersistedClient;
      } catch (error) {
        storage.warn(error);
        return UNREADABLE;
      }
    },
    retry({ persistedClient, error }) {
      const smaller = isFull(error) ? withoutOlderHalf(persistedClient) : undefined;
      if (smaller === undefined) storage.warn(error);
      return smaller;
    },
  });
  const [stopSaving, restoring] = persist({
    queryClient,
    persister: saveAfterRun(persister, () => isMutating(queryClient)),
    buster: JSON.stringify([userId, schemaVersion]),
    maxAge: options.maxAgeMs ?? DAY_MS,
  });

  function stop(): void {
    stopSaving();
    storage.stop();
    signOut.close();
  }

  const signOut = openSignOutChannel(`${key} ${userId}`, () => {
    stop();
    void storage.remove(key);
  });
  owners.set(queryClient, { userId, stop });
  return {
    restored: restoring.catch(storage.warn),
    stop,
    clear() {
      signOut.post();
      stop();
      queryClient.clear();
      return storage.remove(key);
    },
  };
}

/**
 * Whether the cache may show what a mutation in flight has written. A closed page may end the
 * mutation, and no event would tell that it failed. Paused mutations are stored themselves.
 */
function isMutating(queryClient: QueryClient): boolean {
  const mutations = queryClient.getMutationCache().getAll();
  return mutations.some(
    (mutation) => isInFlight(mutation) && Date.now() - mutation.state.submittedAt < MAX_DEFER_MS,
  );
}

/**
 * Wrap a persister so that it saves only the last snapshot of each synchronous run. A write over
 * stale data looks fresh until our cache listener marks it stale again, and that listener may run
 * after the persister's.
 */
function saveAfterRun(persister: Persister, isMutating: () => boolean): Persister {
  let newest: PersistedClient | undefined;

  async function save(): Promise<void> {
    const client = newest;
    newest = undefined;
    if (client) await persister.persistClient(withoutServerCursors(client));
  }

  return {
    ...persister,
    persistClient(client) {
      if (isMutating()) return;
      if (!newest) queueMicrotask(() => void save());
      newest = client;
    },
  };
}

/** Drop the cursors of server-rendered queries: a stored cache is as new as its own. */
function withoutServerCursors(client: PersistedClient): PersistedClient {
  const queries = client.clientState.queries.map((query) => ({
    ...query,
    state: { ...query.state, fetchMeta: null },
  }));
  return { ...client, clientState: { ...client.clientState, queries } };
}

function isFull(error: Error): boolean {
  // Firefox before 2025 uses its own error name.
  return ['QuotaExceededError', 'NS_ERROR_DOM_QUOTA_REACHED'].includes(error.name);
}

/** Drop the queries whose data is the oldest, but not the cursors; undefined if there are none. */
function withoutOlderHalf(client: PersistedClient): PersistedClient | undefined {
  const { mutations, queries } = client.clientState;
  const ours = queries.filter(isOurs);
  const others = queries
    .filter((query) => !isOurs(query))
    .sort((a, b) => b.state.dataUpdatedAt - a.state.dataUpdatedAt);
  if (others.length === 0) return undefined;
  const newer = others.slice(0, Math.floor(others.length / 2));
  return { ...client, clientState: { mutations, queries: [...ours, ...newer] } };
}

export { neverstaleDefaults } from '../tanstack/defaults.js';
export { indexedDbStorage } from './indexed-db.js';
