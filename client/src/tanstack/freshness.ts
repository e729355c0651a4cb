import type {
  MutationCacheNotifyEvent,
  Query,
  QueryCacheNotifyEvent,
  QueryClient,
} from '@tanstack/query-core';

import type { Cursors } from '../core/protocol.js';
import type { Environment } from '../environment.js';
import { serverCursors, streamed, watchStreamed } from './hydration.js';
import { InFlight, type Activity, type Moment, type StaleMark } from './in-flight.js';
import { isOurs, readStored, renderedWith } from './stored-cursors.js';

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
  private readonly mutations = new WeakMap<object, Activity>();
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
    private readonly on: Readonly<Record<'stale' | 'failed' | 'fresh', (query: Query) => void>>,
    private readonly isCurrent: (query: Query, cursors: Cursors) => boolean,
  ) {
    const beforeStart: Moment = { order: 0, at: environment.loadedAt };
    const older = readStored(client) === undefined ? renderedWith(client).older : [];
    for (const query of client.getQueryCache().getAll()) {
      watchStreamed(query);
      const { dataUpdatedAt } = query.state;
      // What a server fetched may be of a clock that is ahead.
      const isOfThisPage = dataUpdatedAt >= beforeStart.at && dataUpdatedAt <= environment.now();
      this.dataBegan.set(query, isOfThisPage ? beforeStart.at : -Infinity);
      const cursors = serverCursors(query);
      if (cursors ? !this.isCurrent(query, cursors) : older.includes(query))
        this.markAndNotify(query, beforeStart.order);
      if (query.state.fetchStatus !== 'idle')
        this.fetches.set(query, this.inFlight.begin(beforeStart));
      if (query.state.isInvalidated && !isOurs(query)) this.markAndNotify(query, beforeStart.order);
    }
    for (const mutation of client.getMutationCache().getAll()) {
      if (mutation.state.status === 'pending') {
        this.mutations.set(mutation, this.inFlight.begin(beforeStart));
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
    query.invalidate();
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
          this.inFlight.begin(this.fetchBegan(query), action.meta?.fetchMore !== undefined),
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
    const { began, isPartial } = fetched;
    if (!isPartial) this.dataBegan.set(query, began.at);
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
    const began = this.inFlight.oldest(this.now());
    // The new data may be derived from the old, so it keeps its age and its stale mark.
    if (!this.dataBegan.has(query)) this.dataBegan.set(query, began.at);
    const mark = this.inFlight.missed(query, began) ?? this.marks.get(query);
    if (mark !== undefined) this.markAndNotify(query, mark);
  }

  /** A cancelled fetch reverted the query, or its data came from elsewhere, e.g. hydration. */
  private onStateSet(query: Query): void {
    const wasFetching = this.fetches.has(query);
    if (query.state.fetchStatus === 'idle') this.settle(query);
    if (this.isStale(query)) {
      query.invalidate();
      this.on.failed(query);
    } else if (!wasFetching) {
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
    const { mutation, action } = event;
    const activity = this.mutations.get(mutation) ?? this.inFlight.begin(this.now());
    this.mutations.set(mutation, activity);
    if (action.type === 'success' || action.type === 'error') {
      activity.settledAt = this.environment.now();
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
