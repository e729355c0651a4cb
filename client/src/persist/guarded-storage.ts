import type { AsyncStorage } from '@tanstack/query-persist-client-core';

import { withTimeout } from './timeout.js';

/** A storage whose failures cost no more than what is stored. */
export interface GuardedStorage extends AsyncStorage {
  /** After this nothing is read or written. */
  readonly stop: () => void;
  /** Removes an entry, and what a write in progress makes of it. Never rejects. */
  readonly remove: (key: string) => Promise<void>;
  /** Warns that the storage fails, once. */
  readonly warn: (error: unknown) => void;
}

/**
 * Guard a storage that may be missing, blocked, full or broken. Only a write rejects.
 *
 * @param readMs - a read that takes longer returns undefined
 */
export function guardStorage(
  given: AsyncStorage | (() => AsyncStorage),
  readMs: number,
): GuardedStorage {
  let isStopped = false;
  let hasWarned = false;
  let writing: Promise<unknown> | undefined;

  // Called for each access: the getter of `localStorage` throws where storage is blocked.
  const storage = (): AsyncStorage => (typeof given === 'function' ? given() : given);

  function warn(error: unknown): void {
    if (!hasWarned) console.warn(`neverstale: the query cache cannot be stored: ${String(error)}`);
    hasWarned = true;
  }

  async function removeItem(key: string): Promise<void> {
    try {
      await storage().removeItem(key);
    } catch (error) {
      warn(error);
    }
  }

  return {
    async getItem(key) {
      try {
        const text = await withTimeout(storage().getItem(key), readMs, 'it cannot be read in time');
        return isStopped ? undefined : text;
      } catch (error) {
        warn(error);
        return undefined;
      }
    },
    async setItem(key, value) {
      if (isStopped) return;
      const write = Promise.resolve(storage().setItem(key, value));
      writing = write;
      await write;
    },
    removeItem,
    stop() {
      isStopped = true;
    },
    async remove(key) {
      await removeItem(key);
      if (writing === undefined) return;
      await Promise.allSettled([writing]);
      await removeItem(key);
    },
    warn,
  };
}
