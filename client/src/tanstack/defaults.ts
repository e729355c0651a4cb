import type { DefaultOptions } from '@tanstack/query-core';

/**
 * Default options of a query client whose data stays fresh until an event invalidates it:
 * `new QueryClient({ defaultOptions: neverstaleDefaults })`.
 */
export const neverstaleDefaults = {
  queries: {
    staleTime: Infinity,
    gcTime: 24 * 60 * 60 * 1_000,
    refetchOnWindowFocus: false,
    refetchOnReconnect: false,
    retry: 1,
  },
} satisfies DefaultOptions;
