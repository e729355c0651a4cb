import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { Binding } from './binding.js';
import type { ConnectQueryClientOptions } from './options.js';
import type { AnyQueryClient } from './query-client.js';

/**
 * Invalidates and refetches the queries of a query client on a connection's events, and while events
 * may be missed. At the start everything that changed since the cursors stored in it is stale.
 *
 * @returns a function that stops it
 */
export function connectQueryClient(
  connection: Connection,
  queryClient: AnyQueryClient,
  options: ConnectQueryClientOptions = {},
): () => void {
  // It may be of another copy, whose class is the same but for its type.
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment
  const binding = new Binding(connection, queryClient as QueryClient, options);
  return () => {
    binding.stop();
  };
}

export { neverstaleDefaults } from './defaults.js';
export { defaultMapping, type Mapping, type Targets } from './mapping.js';
export type { ConnectQueryClientOptions, DeferralOptions, PendingMutation } from './options.js';
export type { AnyQueryClient } from './query-client.js';
export { readCursors } from './stored-cursors.js';
