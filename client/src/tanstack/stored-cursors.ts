import type { Query, QueryClient } from '@tanstack/query-core';

import type { Cursors } from '../core/protocol.js';

/**
 * The cursors live in the query cache, as a query of their own: whatever stores the cache stores
 * both in one blob, and whatever clears it forgets both.
 */
const KEY = ['neverstale'] as const;

export function isOurs(query: Query): boolean {
  return query.queryKey[0] === KEY[0];
}

/** The cursors that a restored query cache came with: give them to `createConnection`. */
export function readCursors(queryClient: QueryClient): Cursors {
  return queryClient.getQueryData<Cursors>(KEY) ?? {};
}

export function writeCursors(queryClient: QueryClient, cursors: Cursors): void {
  queryClient.setQueryDefaults(KEY, {
    gcTime: Infinity,
    staleTime: Infinity,
    structuralSharing: false,
    queryFn: () => readCursors(queryClient),
  });
  queryClient.setQueryData(KEY, cursors);
}
