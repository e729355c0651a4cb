import type { Query } from '@tanstack/query-core';

/** A mutation's caller may write its response this long after it has settled. */
const WRITE_GRACE_MS = 1_000;
/** Beyond so many events any write by something older is suspect. */
const MOST_EVENTS = 500;

export interface Moment {
  /** Orders what happens within one millisecond. */
  readonly order: number;
  readonly at: number;
}

/** A fetch or a mutation. */
export interface Activity {
  readonly began: Moment;
  /** It brings one more page of an infinite query, and leaves the others as they were. */
  readonly isPartial: boolean;
  settledAt: number | undefined;
}

export interface StaleMark {
  readonly matches: (query: Query) => boolean;
  /** Only what began before this time; undefined: whatever began before now. */
  readonly fetchedBefore?: number | undefined;
}

/** The fetches and mutations under way, and the events that they may be older than. */
export class UnderWay {
  private readonly activities = new Set<Activity>();
  private events: (StaleMark & { order: number })[];

  /** @param order - the events up to here are unknown: to what is older, anything may be stale */
  constructor(order: number) {
    this.events = [{ matches: () => true, order }];
  }

  begin(began: Moment, isPartial = false): Activity {
    const activity: Activity = { began, isPartial, settledAt: undefined };
    this.activities.add(activity);
    return activity;
  }

  remember(event: StaleMark, { order, at }: Moment): void {
    this.prune(at);
    this.events.push({ ...event, order });
    if (this.events.length > MOST_EVENTS) this.events = [{ matches: () => true, order }];
  }

  /** When the oldest thing under way began, whose response a write may be. */
  oldest(now: Moment): Moment {
    this.prune(now.at);
    return [...this.activities].reduce(
      (oldest, { began }) => (began.order < oldest.order ? began : oldest),
      now,
    );
  }

  /** The newest event about a query that the oldest thing under way is older than. */
  missed(query: Query, began: Moment): number | undefined {
    return this.events.findLast(
      (event) => began.at < (event.fetchedBefore ?? Infinity) && event.matches(query),
    )?.order;
  }

  /** Forgets what is over, and the events that nothing is older than. */
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
