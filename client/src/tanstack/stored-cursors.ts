import type { Cursors } from '../core/protocol.js';
import { renderedWith } from './hydration.js';
import type { AnyQueryClient, QueryKey } from './query-client.js';

/**
 * The cursors are stored in the query cache as a separate query, so that persisting or clearing the
 * cache always includes them.
 */
const KEY = ['neverstale'] as const;

export function isOurs(query: { readonly queryKey: QueryKey }): boolean {
  return query.queryKey[0] === KEY[0];
}

/**
 * Returns the cursors stored in a query cache, or else those of data that a server rendered; pass
 * them to `createConnection`.
 */
export function readCursors(queryClient: AnyQueryClient): Cursors {
  return readStored(queryClient) ?? renderedWith(queryClient).cursors ?? {};
}

/** Returns the cursors up to which everything that is not server-rendered is fresh. */
export function readStored(queryClient: AnyQueryClient): Cursors | undefined {
  return queryClient.getQueryData(KEY) as Cursors | undefined;
}

export function writeCursors(queryClient: AnyQueryClient, cursors: Cursors): void {
  queryClient.setQueryDefaults(KEY, {
    gcTime: Infinity,
    staleTime: Infinity,
    structuralSharing: false,
    queryFn: () => readStored(queryClient) ?? {},
  });
  queryClient.setQueryData(KEY, cursors);
}
