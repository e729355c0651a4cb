import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { Binding, type BindingOptions } from './binding.js';
import { startFallback, type FallbackOptions } from './fallback.js';

export interface ConnectQueryClientOptions extends BindingOptions {
  /** What to do while events may be missed. Default: nothing. */
  fallback?: FallbackOptions;
}

/**
 * Invalidates and refetches the queries of a query client on a connection's events.
 *
 * @returns a function that stops it
 */
export function connectQueryClient(
  connection: Connection,
  queryClient: QueryClient,
  options: ConnectQueryClientOptions = {},
): () => void {
  const binding = new Binding(connection, queryClient, options);
  const stopFallback = options.fallback && startFallback(connection, queryClient, options.fallback);
  return () => {
    binding.stop();
    stopFallback?.();
  };
}

export type { BindingOptions } from './binding.js';
export { neverstaleDefaults } from './defaults.js';
export type { FallbackOptions } from './fallback.js';
export { defaultMapping, type Mapping, type Targets } from './mapping.js';
export { readCursors } from './stored-cursors.js';
