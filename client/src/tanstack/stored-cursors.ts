import type { Cursors } from '../core/protocol.js';
import type { AnyQueryClient, QueryKey } from './query-client.js';

/**
 * The cursors are stored in the query cache as a separate query, so that persisting or clearing the
 * cache always includes them.
 */
const KEY = ['neverstale'] as const;

export function isOurs(query: { readonly queryKey: QueryKey }): boolean {
  return query.queryKey[0] === KEY[0];
}

/** Returns the cursors stored in a query cache; pass them to `createConnection`. */
export function readCursors(queryClient: AnyQueryClient): Cursors {
  return (queryClient.getQueryData(KEY) as Cursors | undefined) ?? {};
}

export function writeCursors(queryClient: AnyQueryClient, cursors: Cursors): void {
  queryClient.setQueryDefaults(KEY, {
    gcTime: Infinity,
    staleTime: Infinity,
    structuralSharing: false,
    queryFn: () => readCursors(queryClient),
  });
  queryClient.setQueryData(KEY, cursors);
}
