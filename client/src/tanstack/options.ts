import type { Change } from '../core/events.js';
import type { Mapping } from './mapping.js';
import type { QueryKey } from './query-client.js';

// A module of its own, so that the declarations of the package need no copy of query-core.

export interface BindingOptions {
  /** Entries to add to the default mapping, or that replace its entries. */
  mapping?: Mapping | undefined;
  /**
   * Whether a query may hold data of a project; `others` are the project ids seen in events so far.
   * Default: yes, unless its key contains the UUID of another project and not this one's id.
   */
  isOf?:
    ((queryKey: QueryKey, projectId: string, others: ReadonlySet<string>) => boolean) | undefined;
  /** Events within this time share one refetch, in milliseconds. Default: 10. */
  batchMs?: number | undefined;
  /**
   * Refetch the queries that a change made stale once more after this time, in milliseconds, for
   * reads from lagging replicas. Default: never.
   */
  settleMs?: number | undefined;
  /** Whether to keep retrying a stale query in use whose fetch failed. Default: always. */
  shouldRetry?: ((error: unknown) => boolean) | undefined;
  /**
   * Whether a query already contains this change, e.g. because a mutation's response was written to
   * it. Not always safe: one event may stand for several changes of its row. Default: no.
   */
  isEcho?: ((change: Change, queryKey: QueryKey) => boolean) | undefined;
}

/** Refetches that replace events while the connection is degraded or offline. */
export interface FallbackOptions {
  /** Refetch the queries in use at this interval, in milliseconds. Default: never. */
  everyMs?: number | undefined;
  /** Refetch the queries in use when the window gets the focus. Default: false. */
  onFocus?: boolean | undefined;
}

export interface ConnectQueryClientOptions extends BindingOptions {
  /** What to do while events may be missed. Default: nothing. */
  fallback?: FallbackOptions | undefined;
}
