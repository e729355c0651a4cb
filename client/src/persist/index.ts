import { createAsyncStoragePersister } from '@tanstack/query-async-storage-persister';
import type { DefaultOptions } from '@tanstack/query-core';
import {
  persistQueryClient as persist,
  removeOldestQuery,
  type AsyncStorage,
  type PersistedClient,
  type PersistQueryClientOptions,
  type Persister,
} from '@tanstack/query-persist-client-core';

import type { AnyQueryClient } from '../tanstack/query-client.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

/**
 * Default options of a query client whose data stays fresh until an event invalidates it:
 * `new QueryClient({ defaultOptions: neverstaleDefaults })`.
 */
export const neverstaleDefaults = {
  queries: {
    staleTime: Infinity,
    gcTime: DAY_MS,
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
    retry: 1,
  },
} satisfies DefaultOptions;

export interface PersistOptions {
  queryClient: AnyQueryClient;
  /** `localStorage`, `indexedDbStorage()`, or any object with the same three methods. */
  storage: AsyncStorage;
  /** The user who owns the cache; another user's cache is discarded. */
  userId: string;
  /** Version of the cached data: change it when the shape of what queries return changes. */
  schemaVersion: string | number;
  /** An older cache is discarded, in milliseconds. Default: a day, the lifetime of cursors. */
  maxAgeMs?: number | undefined;
  /** Name of the entry in the storage. Default: `neverstale`. */
  key?: string | undefined;
}

export interface Persistence {
  /** Resolves when the cache is restored. Connect only then, with `readCursors(queryClient)`. */
  readonly restored: Promise<void>;
  /** Stops saving. */
  readonly stop: () => void;
}

/**
 * Restores a query cache together with its cursors, then saves both at most once a second. A cache
 * that cannot be restored is discarded; a failed save is skipped.
 */
export function persistQueryClient(options: PersistOptions): Persistence {
  const { storage, userId, schemaVersion, key = 'neverstale' } = options;
  const [stop, restored] = persist({
    // It may be of another copy, whose class is the same but for its type.
    // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
    queryClient: options.queryClient as PersistQueryClientOptions['queryClient'],
    persister: saveAfterRun(
      createAsyncStoragePersister({ storage, key, retry: removeOldestQuery }),
    ),
    buster: JSON.stringify([userId, schemaVersion]),
    maxAge: options.maxAgeMs ?? DAY_MS,
  });
  return { restored: restored.catch(() => undefined), stop };
}

/**
 * Wrap a persister so that it saves only the last snapshot of each synchronous run. A write over
 * stale data looks fresh until our cache listener marks it stale again, and that listener may run
 * after the persister's.
 */
function saveAfterRun(persister: Persister): Persister {
  let newest: PersistedClient | undefined;

  async function save(): Promise<void> {
    const client = newest;
    newest = undefined;
    if (client) await persister.persistClient(client);
  }

  return {
    ...persister,
    persistClient(client) {
      if (!newest) queueMicrotask(() => void save().catch(() => undefined));
      newest = client;
    },
  };
}

export { indexedDbStorage } from './indexed-db.js';
