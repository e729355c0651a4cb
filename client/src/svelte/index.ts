import { getContext, hasContext, onMount, setContext } from 'svelte';
import { derived, fromStore, toStore, writable, type Readable } from 'svelte/store';

import type { Connection } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import { provide, toProjectId, type ProviderOptions } from '../frameworks/provide.js';

const KEY = Symbol('neverstale');

/**
 * Provides the connection to the component and those below, and keeps the query client fresh with
 * its events while the component is mounted.
 *
 * Call it while a component is initialised that is mounted while a user is signed in, in a
 * `{#key userId}` so that each user gets a new connection.
 *
 * @param options - `getToken` and `options` are read at each use, the others when the component is
 *   mounted
 */
export function provideNeverstale(options: () => ProviderOptions): void {
  const connection = writable<Connection | undefined>();
  setContext(KEY, connection);
  // Not on a server, where nothing is mounted.
  onMount(() => provide(options, connection.set));
}

/**
 * Returns the connection of the provider, e.g. for `reconnect()`; undefined until it exists: before
 * the provider is mounted and on a server.
 */
export function useConnection(): { readonly current: Connection | undefined } {
  return fromStore(providedConnection());
}

/**
 * Subscribes to a project while the component is mounted, and returns the project's status.
 *
 * @param projectId - returns the id as the server writes it; null, undefined or empty: open no
 *   project and return the connection's status
 * @param onEvent - called on every event of the connection while the component is mounted
 */
export function useNeverstale(
  projectId: () => string | null | undefined,
  onEvent?: (event: NeverstaleEvent) => void,
): { readonly current: Status } {
  const status = derived(
    [providedConnection(), toStore(projectId)],
    ([connection, given], set: (status: Status) => void) => {
      const id = toProjectId(given);
      const update = (): void => {
        set(connection?.status(id) ?? 'connecting');
      };
      const stops = [
        id === undefined ? undefined : connection?.open(id),
        connection?.onStatus(update),
        onEvent && connection?.subscribe(onEvent),
      ];
      update();
      return () => {
        for (const stop of stops) stop?.();
      };
    },
    'connecting' as Status,
  );
  // Subscribed while mounted, also if nothing reads the status.
  onMount(() => status.subscribe(() => undefined));
  return fromStore(status);
}

/** Returns the status of the connection as a whole. */
export function useConnectionStatus(): { readonly current: Status } {
  return useNeverstale(() => undefined);
}

function providedConnection(): Readable<Connection | undefined> {
  if (!hasContext(KEY)) {
    throw new Error('neverstale: call provideNeverstale() in this component or one above it');
  }
  return getContext(KEY);
}

export type { ProviderOptions } from '../frameworks/provide.js';
export type { RestoringCache } from '../frameworks/start-after.js';
