export type QueryKey = readonly unknown[];

/** A list of queries or mutations that reports its changes. */
interface AnyCache {
  getAll(): readonly object[];
  // A method, so that any copy's type of event fits.
  subscribe(listener: (event: never) => void): () => void;
}

/**
 * The `QueryClient` of any TanStack Query 5 package (`@tanstack/react-query`, `vue-query`,
 * `svelte-query`, `solid-query`) or copy of its core.
 *
 * The class itself would accept only one copy: it has private members, which TypeScript compares by
 * their declaration.
 */
export interface AnyQueryClient {
  getQueryCache(): AnyCache;
  getMutationCache(): AnyCache;
  getQueryData(queryKey: QueryKey): unknown;
  setQueryData(queryKey: QueryKey, data: unknown): unknown;
  setQueryDefaults(queryKey: QueryKey, options: object): void;
  refetchQueries(filters?: object, options?: object): Promise<void>;
}
