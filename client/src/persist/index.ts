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

import { isInFlight, MAX_DEFER_MS } from '../tanstack/mutations.js';
import type { AnyQueryClient } from '../tanstack/query-client.js';

const DAY_MS = 24 * 60 * 60 * 1_000;

type QueryClient = PersistQueryClientOptions['queryClient'];

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
 * Restores a query cache together with its cursors, then saves both at most once a second, but not
 * while a mutation is in flight (for up to 5 s), whose optimistic values may not become true. A cache
 * that cannot be restored is discarded; a failed save is skipped.
 */
export function persistQueryClient(options: PersistOptions): Persistence {
  const { storage, userId, schemaVersion, key = 'neverstale' } = options;
  // It may be of another copy, whose class is the same but for its type.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  const queryClient = options.queryClient as QueryClient;
  const [stop, restored] = persist({
    queryClient,
    persister: saveAfterRun(
      createAsyncStoragePersister({ storage, key, retry: removeOldestQuery }),
      () => isMutating(queryClient),
    ),
    buster: JSON.stringify([userId, schemaVersion]),
    maxAge: options.maxAgeMs ?? DAY_MS,
  });
  return { restored: restored.catch(() => undefined), stop };
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
    if (client) await persister.persistClient(client);
  }

  return {
    ...persister,
    persistClient(client) {
      if (isMutating()) return;
      if (!newest) queueMicrotask(() => void save().catch(() => undefined));
      newest = client;
    },
  };
}

export { indexedDbStorage } from './indexed-db.js';
