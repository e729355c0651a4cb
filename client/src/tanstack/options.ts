import type { Change } from '../core/events.js';
import type { MappingOption } from './mapping.js';
import type { QueryKey } from './query-client.js';

// Separate from the code, so that the declarations of the package do not import query-core.

/** A mutation in flight. */
export interface PendingMutation {
  readonly mutationKey: readonly unknown[] | undefined;
  readonly meta: Readonly<Record<string, unknown>> | undefined;
  readonly variables: unknown;
}

export interface DeferralOptions {
  /**
   * Whether a mutation in flight may affect a query; if so, events refetch the query only after the
   * mutation has settled. Default: yes.
   */
  mayAffect?: ((mutation: PendingMutation, queryKey: QueryKey) => boolean) | undefined;
  /**
   * The longest time that one refetch waits for mutations, and that refetches wait for one
   * mutation, in milliseconds. Default: 5,000; 0: refetches do not wait.
   */
  maxDeferMs?: number | undefined;
}

export interface ConnectQueryClientOptions extends DeferralOptions, MappingOption {
  /**
   * Whether a query may hold data of a project; `others` are all known project ids: those that were
   * open, have a cursor, or were named by an event. The id `''` asks for data of no known project.
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
  /**
   * Interval at which the queries in use that no events keep fresh are refetched while the page is
   * visible, in milliseconds, give or take a fifth; false: never. Default: 30,000.
   */
  pollMs?: number | false | undefined;
  /**
   * Refetch stale queries in use while the page is hidden too. Default: false, once when it becomes
   * visible.
   */
  refetchHidden?: boolean | undefined;
  /** Keep the cached data of a project that became forbidden. Default: false. */
  keepForbidden?: boolean | undefined;
}
