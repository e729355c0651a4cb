import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { Binding } from './binding.js';
import { startFallback } from './fallback.js';
import type { ConnectQueryClientOptions } from './options.js';
import type { AnyQueryClient } from './query-client.js';

/**
 * Invalidates and refetches the queries of a query client on a connection's events.
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
  const client = queryClient as QueryClient;
  const binding = new Binding(connection, client, options);
  const stopFallback = options.fallback && startFallback(connection, client, options.fallback);
  return () => {
    binding.stop();
    stopFallback?.();
  };
}

export { defaultMapping, type Mapping, type Targets } from './mapping.js';
export type { BindingOptions, ConnectQueryClientOptions, FallbackOptions } from './options.js';
export type { AnyQueryClient } from './query-client.js';
export { readCursors } from './stored-cursors.js';
