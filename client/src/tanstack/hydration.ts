import type { Query, QueryCacheNotifyEvent } from '@tanstack/query-core';

import type { Cursors } from '../core/protocol.js';
import type { AnyQueryClient } from './query-client.js';

/** Part of a query's state, so `dehydrate` and `hydrate` keep it; the next fetch replaces it. */
type ServerFetchMeta = NonNullable<Query['state']['fetchMeta']> & { readonly neverstale?: Cursors };

/** On a server: note the cursors with everything that the query client fetches from now on. */
export function stampFetches(queryClient: AnyQueryClient, cursors: Cursors): void {
  queryClient.getQueryCache().subscribe((event: QueryCacheNotifyEvent) => {
    if (event.type !== 'updated' || event.action.type !== 'fetch') return;
    const fetchMeta: ServerFetchMeta = { ...event.query.state.fetchMeta, neverstale: cursors };
    event.query.setState({ fetchMeta });
  });
}

/** Return the cursors that a server read before it fetched the query's data. */
export function serverCursors(query: Query): Cursors | undefined {
  const fetchMeta: ServerFetchMeta | null = query.state.fetchMeta;
  return fetchMeta?.neverstale;
}

/**
 * Return the first query that a server rendered with cursors, and these cursors. Queries that are
 * older in this cache may have been fetched before the server read them.
 */
export function renderedWith(queryClient: AnyQueryClient): {
  readonly older: readonly Query[];
  readonly cursors: Cursors | undefined;
} {
  const queries = queryClient.getQueryCache().getAll() as readonly Query[];
  const first = queries.findIndex((query) => serverCursors(query) !== undefined);
  const query = queries[first];
  return { older: queries.slice(0, Math.max(first, 0)), cursors: query && serverCursors(query) };
}

/** The fetches that are beginning with the promise of a server's fetch, and its cursors. */
const promised = new WeakMap<Query, { readonly cursors: Cursors | undefined }>();

/**
 * Watch for fetches by which `hydrate` waits for the answer that a server streams. In the cache's
 * events they look like any other, though they began earlier.
 */
export function watchStreamed(query: Query): void {
  if (Object.hasOwn(query, 'fetch')) return;
  const fetch = query.fetch.bind(query);
  query.fetch = (options, how) => {
    if (how?.initialPromise) promised.set(query, { cursors: serverCursors(query) });
    try {
      return fetch(options, how);
    } finally {
      promised.delete(query);
    }
  };
}

/** While a fetch begins: whether it waits for a server's answer, and the server's cursors. */
export function streamed(query: Query): { readonly cursors: Cursors | undefined } | undefined {
  return promised.get(query);
}
