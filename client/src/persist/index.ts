import { createAsyncStoragePersister } from '@tanstack/query-async-storage-persister';
import type { DefaultOptions, QueryClient } from '@tanstack/query-core';
import {
  persistQueryClient as persist,
  removeOldestQuery,
  type AsyncStorage,
  type PersistedClient,
  type Persister,
} from '@tanstack/query-persist-client-core';

const DAY_MS = 24 * 60 * 60 * 1_000;

/**
 * Default options of a query client whose data is fresh until told otherwise:
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
  queryClient: QueryClient;
  /** `localStorage`, `indexedDbStorage()` or another with these three methods. */
  storage: AsyncStorage;
  /** Whose cache it is: another user's is thrown away. */
  userId: string;
  /** Of the app's data: change it whenever the shape of what queries return changes. */
  schemaVersion: string | number;
  /** What is older is thrown away, in milliseconds. Default: a day, as long as cursors live. */
  maxAgeMs?: number;
  /** Name of the entry in the storage. Default: `neverstale`. */
  key?: string;
}

export interface Persistence {
  /** Done once the cache is restored: only then connect, with `readCursors(queryClient)`. */
  readonly restored: Promise<void>;
  /** Ends the saving. */
  readonly stop: () => void;
}

/**
 * Restores a query cache with the cursors that belong to it, then saves both, at most once a
 * second. What can't be restored is thrown away, and what can't be saved is left unsaved.
 */
export function persistQueryClient(options: PersistOptions): Persistence {
  const { queryClient, storage, userId, schemaVersion, key = 'neverstale' } = options;
  const [stop, restored] = persist({
    queryClient,
    persister: afterTheRun(createAsyncStoragePersister({ storage, key, retry: removeOldestQuery })),
    buster: JSON.stringify([userId, schemaVersion]),
    maxAge: options.maxAgeMs ?? DAY_MS,
  });
  return { restored: restored.catch(() => undefined), stop };
}

/**
 * A persister that is given only the last snapshot of a run of synchronous code: what is written over
 * stale data is fresh until the listener that knows better, which may come after the saving one.
 */
function afterTheRun(persister: Persister): Persister {
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
