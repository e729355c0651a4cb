import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { Binding, type ConnectQueryClientOptions } from './binding.js';

/**
 * Invalidates and refetches the queries of a query client on a connection's events, and while events
 * may be missed. At the start everything that changed since the cursors stored in it is stale.
 *
 * @returns a function that stops it
 */
export function connectQueryClient(
  connection: Connection,
  queryClient: QueryClient,
  options: ConnectQueryClientOptions = {},
): () => void {
  const binding = new Binding(connection, queryClient, options);
  return () => {
    binding.stop();
  };
}

export type { ConnectQueryClientOptions } from './binding.js';
export type { DeferralOptions, PendingMutation } from './mutations.js';
export { defaultMapping, type Mapping, type Targets } from './mapping.js';
export { readCursors } from './stored-cursors.js';
