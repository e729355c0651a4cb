import type {
  Mutation,
  MutationCacheNotifyEvent,
  Query,
  QueryCacheNotifyEvent,
  QueryClient,
} from '@tanstack/query-core';

import type { Cursors } from '../core/protocol.js';
import type { Environment } from '../environment.js';
import { renderedWith, serverCursors, streamed, watchStreamed } from './hydration.js';
import { InFlight, type Activity, type Moment, type StaleMark } from './in-flight.js';
import { isInFlight, type MutationDeferral } from './mutations.js';
import { isOurs, readStored } from './stored-cursors.js';

/** The time that the callbacks of a mutation take at most to begin a refetch. */
const CALLBACK_MS = 10;

/**
 * Keeps queries marked as stale until a fetch that began after the event succeeds.
 *
 * TanStack Query does not: it marks an invalidated query as fresh when a fetch that began before
 * the invalidation completes (a first fetch, a prefetch, one whose observer unmounted), when
 * `setQueryData` writes to it, and when a cancelled fetch reverts it to an earlier state. See
 * TanStack/query #8530 and #11526.
 */
export class Freshness {
  private order = 1;
  private readonly marks = new WeakMap<Query, number>();
  /** When the oldest part of a query's data was fetched. */
  private readonly dataBegan = new WeakMap<Query, number>();
  private readonly fetches = new Map<Query, Activity>();
  private readonly mutations = new WeakMap<Mutation, Activity>();
  /** When a query was last written to since it was fetched. */
  private readonly writes = new WeakMap<Query, number>();
  /** The queries that were written to while a mutation was pending. */
  private readonly writtenDuring = new WeakMap<Mutation, Set<Query>>();
  /** The queries that show what was written to them until the mutations in flight have settled. */
  private readonly optimistic = new Set<Query>();
  private readonly inFlight = new InFlight(this.order);
  private readonly unsubscribe: () => void;

  /**
   * @param on - `stale`: a query is stale again, or a stale one gets an observer; `failed`: the
   *   fetch of a stale query failed; `fresh`: a query is no longer stale
   * @param isCurrent - whether what a server fetched after it had read these cursors is fresh
   */
  constructor(
    private readonly client: QueryClient,
    private readonly environment: Environment,
    private readonly deferral: MutationDeferral,
    private readonly on: Readonly<Record<'stale' | 'failed' | 'fresh', (query: Query) => void>>,
    private readonly isCurrent: (query: Query, cursors: Cursors) => boolean,
  ) {
    const beforeStart: Moment = { order: 0, at: environment.loadedAt };
    const queries = client.getQueryCache().getAll();
    const older = readStored(client) === undefined ? renderedWith(client).older : [];
    for (const query of queries) {
      watchStreamed(query);
      const { dataUpdatedAt } = query.state;
      // What a server fetched may be of a clock that is ahead.
      const isOfThisPage = dataUpdatedAt >= beforeStart.at && dataUpdatedAt <= environment.now();
      this.dataBegan.set(query, isOfThisPage ? beforeStart.at : -Infinity);
      const cursors = serverCursors(query);
      if (cursors ? !this.isCurrent(query, cursors) : older.includes(query))
        this.markAndNotify(query, beforeStart.order);
      if (query.state.fetchStatus !== 'idle')
        this.fetches.set(query, this.inFlight.begin('fetch', beforeStart));
      if (query.state.isInvalidated && !isOurs(query)) this.markAndNotify(query, beforeStart.order);
    }
    for (const mutation of client.getMutationCache().findAll({ status: 'pending' })) {
      // It may have written to any of them before.
      this.writtenDuring.set(mutation, new Set(queries));
      for (const query of queries) this.writes.set(query, beforeStart.order);
      if (isInFlight(mutation)) {
        this.mutations.set(mutation, this.inFlight.begin('mutation', beforeStart));
      }
    }
    const stopQueries = client.getQueryCache().subscribe((event) => {
      this.onQuery(event);
    });
    const stopMutations = client.getMutationCache().subscribe((event) => {
      this.onMutation(event);
    });
    this.unsubscribe = () => {
      stopQueries();
      stopMutations();
    };
  }

  stop(): void {
    this.unsubscribe();
    for (const query of this.optimistic) if (this.isStale(query)) query.invalidate();
  }

  isStale(query: Query): boolean {
    return this.marks.has(query);
  }

  /** Mark the matching queries as stale, and return them. */
  mark(event: StaleMark): Query[] {
    this.inFlight.remember(event, this.now());
    const stale = this.client
      .getQueryCache()
      .getAll()
      .filter((query) => !isOurs(query) && event.matches(query) && this.isDue(query, event));
    for (const query of stale) {
      const fetching = this.fetches.get(query)?.began;
      const isNewEnough = fetching && fetching.at >= (event.fetchedBefore ?? Infinity);
      this.markAt(query, isNewEnough ? fetching.order - 1 : this.order);
    }
    return stale;
  }

  private isDue(query: Query, { fetchedBefore }: StaleMark): boolean {
    if (fetchedBefore === undefined) return true;
    const fetching = this.fetches.get(query);
    if (fetching && fetching.began.at < fetchedBefore) return true;
    return query.state.data !== undefined && this.dataBeganAt(query) < fetchedBefore;
  }

  private dataBeganAt(query: Query): number {
    const began = this.dataBegan.get(query) ?? -Infinity;
    // If the clock was set back, this time proves nothing.
    return began > this.environment.now() ? -Infinity : began;
  }

  private markAt(query: Query, order: number): void {
    this.marks.set(query, Math.max(order, this.marks.get(query) ?? order));
    this.invalidate(query);
  }

  /** TanStack Query would refetch an invalidated query as soon as another component uses it. */
  private invalidate(query: Query): void {
    if (!this.optimistic.has(query)) query.invalidate();
  }

  private onQuery(event: QueryCacheNotifyEvent): void {
    const query = event.query as Query;
    if (isOurs(query)) return;
    if (event.type === 'removed') {
      this.settle(query);
    } else if (event.type === 'observerAdded' && this.isStale(query)) {
      this.on.stale(query);
    } else if (event.type === 'added') {
      watchStreamed(query);
      this.onExternalData(query);
    } else if (event.type === 'updated') {
      this.onUpdate(query, event.action);
    }
  }

  private onUpdate(
    query: Query,
    action: Extract<QueryCacheNotifyEvent, { type: 'updated' }>['action'],
  ): void {
    switch (action.type) {
      case 'fetch':
        this.settle(query);
        this.fetches.set(
          query,
          this.inFlight.begin(action.meta?.fetchMore ? 'page' : 'fetch', this.fetchBegan(query)),
        );
        break;
      case 'success':
        if (action.manual) this.onWrite(query);
        else this.onResult(query);
        break;
      case 'error':
        this.settle(query);
        if (this.isStale(query)) this.on.failed(query);
        break;
      case 'setState':
        this.onStateSet(query);
        break;
      default:
    }
  }

  private onResult(query: Query): void {
    const fetched = this.settle(query);
    if (fetched === undefined) return;
    const { kind, began } = fetched;
    const isPartial = kind === 'page';
    if (!isPartial) {
      this.dataBegan.set(query, began.at);
      if (began.order > (this.writes.get(query) ?? began.order)) this.writes.delete(query);
    }
    const mark = this.marks.get(query);
    if (mark !== undefined && (isPartial || mark >= began.order)) {
      this.markAndNotify(query, mark);
    } else {
      this.marks.delete(query);
      this.on.fresh(query);
    }
  }

  /** A write does not say whose response it is: it may be that of the oldest in-flight activity. */
  private onWrite(query: Query): void {
    const now = this.now();
    this.writes.set(query, now.order);
    for (const mutation of this.client.getMutationCache().findAll({ status: 'pending' })) {
      this.writtenDuring.set(mutation, (this.writtenDuring.get(mutation) ?? new Set()).add(query));
    }
    if (!this.deferral.mayRefetch(query)) this.protect(query);
    const began = this.inFlight.oldest(now);
    // The new data may be derived from the old, so it keeps its age and its stale mark.
    if (!this.dataBegan.has(query)) this.dataBegan.set(query, began.at);
    const mark = this.inFlight.missed(query, began) ?? this.marks.get(query);
    if (mark !== undefined) this.markAndNotify(query, mark);
    const fetching = this.fetches.get(query);
    if (fetching?.kind === 'fetch' && this.inFlight.isOvertaken(fetching, now)) {
      // The result of this fetch would replace what the mutation has written by something older.
      this.markAt(query, now.order);
      void query.cancel({ revert: true });
    }
  }

  private protect(query: Query): void {
    if (this.optimistic.has(query)) return;
    this.optimistic.add(query);
    void this.deferral.settled(query).then(() => {
      this.optimistic.delete(query);
      if (this.isStale(query)) query.invalidate();
    });
  }

  /** The app may have restored nothing, or what another failed mutation had written. */
  private onFailedMutation(mutation: Mutation): void {
    for (const query of this.writtenDuring.get(mutation) ?? []) {
      const written = this.writes.get(query);
      if (written !== undefined && !isOurs(query)) this.markAndNotify(query, written);
    }
  }

  /** A cancelled fetch reverted the query, or its data came from elsewhere, e.g. hydration. */
  private onStateSet(query: Query): void {
    const fetching = this.fetches.get(query);
    if (query.state.fetchStatus === 'idle') this.settle(query);
    if (this.isStale(query)) {
      this.invalidate(query);
      // A fetch that was cancelled because of a mutation did not fail: it is due afterwards.
      const isDue =
        !this.deferral.mayRefetch(query) ||
        (fetching && this.inFlight.isOvertaken(fetching, this.now()));
      this.on[isDue ? 'stale' : 'failed'](query);
    } else if (!fetching) {
      this.onExternalData(query);
    }
  }

  /**
   * Restored or initial data has an unknown age and may predate events that are no longer kept,
   * unless a server fetched it and read the cursors before.
   */
  private onExternalData(query: Query): void {
    if (query.state.data === undefined) return;
    this.dataBegan.set(query, -Infinity);
    const cursors = serverCursors(query);
    if (cursors && this.isCurrent(query, cursors)) return;
    this.markAndNotify(query, this.order);
  }

  /** Return when a fetch that is beginning began: earlier if a server streams its answer. */
  private fetchBegan(query: Query): Moment {
    const server = streamed(query);
    const now = this.now();
    if (!server) return now;
    if (server.cursors && this.isCurrent(query, server.cursors)) return { ...now, at: -Infinity };
    this.markAt(query, now.order);
    return { order: 0, at: -Infinity };
  }

  private markAndNotify(query: Query, order: number): void {
    this.markAt(query, order);
    this.on.stale(query);
  }

  private onMutation(event: MutationCacheNotifyEvent): void {
    if (event.type !== 'updated') return;
    const mutation = event.mutation as Mutation;
    if (event.action.type === 'error') this.onFailedMutation(mutation);
    const activity = this.mutations.get(mutation);
    if (!isInFlight(mutation)) {
      if (activity) activity.settledAt = this.environment.now();
      this.mutations.delete(mutation);
      if (mutation.state.status !== 'pending') this.cancelOvertaken(mutation);
    } else if (!activity) {
      this.mutations.set(mutation, this.inFlight.begin('mutation', this.now()));
    }
  }

  /** What began before the response came may lack the change, whose optimistic value it hides. */
  private cancelOvertaken(mutation: Mutation): void {
    const now = this.now();
    for (const query of this.writtenDuring.get(mutation) ?? []) {
      const fetching = this.fetches.get(query);
      // The app's own refetch after the response begins just before the mutation settles.
      if (fetching?.kind === 'fetch' && fetching.began.at < now.at - CALLBACK_MS) {
        this.markAt(query, now.order);
        void query.cancel({ revert: true });
      }
    }
  }

  private now(): Moment {
    this.order += 1;
    return { order: this.order, at: this.environment.now() };
  }

  private settle(query: Query): Activity | undefined {
    const activity = this.fetches.get(query);
    this.fetches.delete(query);
    if (activity) activity.settledAt = this.environment.now();
    return activity;
  }
}
