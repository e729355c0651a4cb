import type {
  MutationCacheNotifyEvent,
  Query,
  QueryCacheNotifyEvent,
  QueryClient,
} from '@tanstack/query-core';

import type { Environment } from '../environment.js';
import { isOurs } from './stored-cursors.js';
import { UnderWay, type Activity, type Moment, type StaleMark } from './under-way.js';

/**
 * Remembers what is stale until a fetch that began afterwards has succeeded.
 *
 * TanStack Query does not: it settles a query as fresh by the result of a fetch that began before
 * the invalidation (a first fetch, one whose observer left, a prefetch), by whatever is written
 * with `setQueryData`, and by going back to an earlier state when a fetch is cancelled. See
 * TanStack/query #8530 and #11526.
 */
export class Freshness {
  private order = 1;
  private readonly marks = new WeakMap<Query, number>();
  /** When the oldest part of a query's data was fetched. */
  private readonly dataBegan = new WeakMap<Query, number>();
  private readonly fetches = new Map<Query, Activity>();
  private readonly mutations = new WeakMap<object, Activity>();
  private readonly underWay = new UnderWay(this.order);
  private readonly unsubscribe: () => void;

  /**
   * @param on - told of a query that is stale again, or stale and comes into use; of a stale one
   *   whose fetch failed; of one that is fresh
   */
  constructor(
    private readonly client: QueryClient,
    private readonly environment: Environment,
    private readonly on: Readonly<Record<'stale' | 'failed' | 'fresh', (query: Query) => void>>,
  ) {
    const unseen: Moment = { order: 0, at: environment.loadedAt };
    for (const query of client.getQueryCache().getAll()) {
      const isFromStorage = query.state.dataUpdatedAt < unseen.at;
      this.dataBegan.set(query, isFromStorage ? -Infinity : unseen.at);
      if (query.state.fetchStatus !== 'idle') this.fetches.set(query, this.underWay.begin(unseen));
      if (query.state.isInvalidated && !isOurs(query)) this.markAgain(query, unseen.order);
    }
    for (const mutation of client.getMutationCache().getAll()) {
      if (mutation.state.status === 'pending') {
        this.mutations.set(mutation, this.underWay.begin(unseen));
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

  /** Marks what matches as stale; gives the queries that are. */
  mark(event: StaleMark): Query[] {
    this.underWay.remember(event, this.now());
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
    // A clock that was put back proves nothing.
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
      this.onForeignData(query);
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
          this.underWay.begin(this.now(), action.meta?.fetchMore !== undefined),
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
      this.markAgain(query, mark);
    } else {
      this.marks.delete(query);
      this.on.fresh(query);
    }
  }

  /** Whose response is written is not known: it may be that of the oldest thing under way. */
  private onWrite(query: Query): void {
    const began = this.underWay.oldest(this.now());
    // What is written over data may be made of it, so it is as old, and if it was stale it is.
    if (!this.dataBegan.has(query)) this.dataBegan.set(query, began.at);
    const mark = this.underWay.missed(query, began) ?? this.marks.get(query);
    if (mark !== undefined) this.markAgain(query, mark);
  }

  /** A cancelled fetch went back to the state before it, or data came from elsewhere. */
  private onStateSet(query: Query): void {
    const wasFetching = this.fetches.has(query);
    if (query.state.fetchStatus === 'idle') this.settle(query);
    if (this.isStale(query)) {
      query.invalidate();
      this.on.failed(query);
    } else if (!wasFetching) {
      this.onForeignData(query);
    }
  }

  /** Restored or initial data is of unknown age, and events before it were not kept for it. */
  private onForeignData(query: Query): void {
    if (query.state.data === undefined) return;
    this.dataBegan.set(query, -Infinity);
    this.markAgain(query, this.order);
  }

  private markAgain(query: Query, order: number): void {
    this.markAt(query, order);
    this.on.stale(query);
  }

  private onMutation(event: MutationCacheNotifyEvent): void {
    if (event.type !== 'updated') return;
    const { mutation, action } = event;
    const activity = this.mutations.get(mutation) ?? this.underWay.begin(this.now());
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
