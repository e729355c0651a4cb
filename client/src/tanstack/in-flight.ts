import type { Query } from '@tanstack/query-core';

/** How long after a mutation settles its caller may still write the response to the cache. */
const WRITE_GRACE_MS = 1_000;
/** Above this many events, replace them by one that matches every query. */
const MAX_EVENTS = 500;

export interface Moment {
  /** Orders moments within the same millisecond. */
  readonly order: number;
  readonly at: number;
}

export interface Activity {
  /** `page`: the fetch of one more page of an infinite query, which keeps the others as they are. */
  readonly kind: 'fetch' | 'page' | 'mutation';
  readonly began: Moment;
  settledAt: number | undefined;
}

export interface StaleMark {
  readonly matches: (query: Query) => boolean;
  /** Affects only fetches that began before this time; undefined: all that began before now. */
  readonly fetchedBefore?: number | undefined;
}

/** The in-flight fetches and mutations, and the events newer than the oldest of them. */
export class InFlight {
  private readonly activities = new Set<Activity>();
  private events: (StaleMark & { order: number })[];

  /** @param order - events up to here are unknown, so any result that began earlier may be stale */
  constructor(order: number) {
    this.events = [{ matches: () => true, order }];
  }

  begin(kind: Activity['kind'], began: Moment): Activity {
    const activity: Activity = { kind, began, settledAt: undefined };
    this.activities.add(activity);
    return activity;
  }

  remember(event: StaleMark, { order, at }: Moment): void {
    this.prune(at);
    this.events.push({ ...event, order });
    if (this.events.length > MAX_EVENTS) this.events = [{ matches: () => true, order }];
  }

  /** Return when the oldest in-flight activity began: a cache write may be its response. */
  oldest(now: Moment): Moment {
    this.prune(now.at);
    return [...this.activities].reduce(
      (oldest, { began }) => (began.order < oldest.order ? began : oldest),
      now,
    );
  }

  /** Whether a mutation had not settled before a fetch began: its result can lack the change. */
  isOvertaken({ began }: Activity, now: Moment): boolean {
    this.prune(now.at);
    return [...this.activities].some(
      ({ kind, settledAt = Infinity }) => kind === 'mutation' && settledAt >= began.at,
    );
  }

  /** Return the order of the newest matching event that data fetched from `began` on may miss. */
  missed(query: Query, began: Moment): number | undefined {
    return this.events
      .filter((event) => began.at < (event.fetchedBefore ?? Infinity) && event.matches(query))
      .at(-1)?.order;
  }

  /** Drop settled activities and events older than every activity. */
  private prune(now: number): void {
    for (const activity of this.activities) {
      const { settledAt } = activity;
      if (settledAt !== undefined && now - settledAt > WRITE_GRACE_MS) {
        this.activities.delete(activity);
      }
    }
    const oldest = Math.min(...[...this.activities].map(({ began }) => began.order));
    this.events = this.events.filter((event) => event.order > oldest);
  }
}
