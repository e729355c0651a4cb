import type { Query, QueryClient } from '@tanstack/query-core';

import type { Cursors } from '../core/protocol.js';
import { serverCursors } from './hydration.js';

/**
 * The cursors are stored in the query cache as a separate query, so that persisting or clearing the
 * cache always includes them.
 */
const KEY = ['neverstale'] as const;

export function isOurs(query: Pick<Query, 'queryKey'>): boolean {
  return query.queryKey[0] === KEY[0];
}

/**
 * Returns the cursors stored in a query cache, or else those of data that a server rendered; pass
 * them to `createConnection`.
 */
export function readCursors(queryClient: QueryClient): Cursors {
  return readStored(queryClient) ?? renderedWith(queryClient).cursors ?? {};
}

/** Returns the cursors up to which everything that is not server-rendered is fresh. */
export function readStored(queryClient: QueryClient): Cursors | undefined {
  return queryClient.getQueryData<Cursors>(KEY);
}

/**
 * Returns the first query that a server rendered with cursors, and these cursors. Queries that are
 * older in this cache may have been fetched before the server read them.
 */
export function renderedWith(queryClient: QueryClient): {
  readonly older: readonly Query[];
  readonly cursors: Cursors | undefined;
} {
  const queries = queryClient.getQueryCache().getAll();
  const first = queries.findIndex((query) => serverCursors(query) !== undefined);
  const query = queries[first];
  return { older: queries.slice(0, Math.max(first, 0)), cursors: query && serverCursors(query) };
}

export function writeCursors(queryClient: QueryClient, cursors: Cursors): void {
  queryClient.setQueryDefaults(KEY, {
    gcTime: Infinity,
    staleTime: Infinity,
    structuralSharing: false,
    queryFn: () => readStored(queryClient) ?? {},
  });
  queryClient.setQueryData(KEY, cursors);
}
