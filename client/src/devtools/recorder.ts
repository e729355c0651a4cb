import type { Query, QueryCacheNotifyEvent } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import { makeListeners } from '../listeners.js';
import type { AnyQueryClient } from '../tanstack/query-client.js';

const MAX_ENTRIES = 200;

/** A query that an event made stale, and what became of it. */
export interface AffectedQuery {
  readonly queryHash: string;
  state: 'stale' | 'fetching' | 'refetched' | 'failed' | 'removed';
  /** When its refetch began, in milliseconds since the epoch. */
  beganAt: number | undefined;
  /** How long the refetch took, in milliseconds. */
  tookMs: number | undefined;
}

export interface EventEntry {
  readonly kind: 'event';
  readonly at: number;
  readonly event: NeverstaleEvent;
  readonly queries: readonly AffectedQuery[];
}

export interface StatusEntry {
  readonly kind: 'status';
  readonly at: number;
  readonly status: Status;
  readonly lastError: string | undefined;
}

export type Entry = EventEntry | StatusEntry;

/**
 * The newest events and changes of status of a connection, and which queries each event made stale.
 * It finds these by observing the query cache.
 */
export class Recorder {
  /** Oldest first. */
  entries: readonly Entry[] = [];
  readonly changes = makeListeners<undefined>((text, error) => {
    this.connection.environment.warn(text, error);
  });
  private status: Status;
  /** The queries that became stale since the last event, and in the current task. */
  private readonly invalidated = new Set<Query>();
  /** Those whose refetch has not succeeded. */
  private readonly affected = new Map<Query, Set<AffectedQuery>>();
  private stopEvents: () => void;
  private readonly stopOthers: readonly (() => void)[];

  constructor(
    private readonly connection: Connection,
    queryClient: AnyQueryClient,
  ) {
    this.status = connection.status();
    this.stopEvents = this.listen();
    this.stopOthers = [
      connection.onStatus(() => {
        this.onStatus();
      }),
      queryClient.getQueryCache().subscribe((event: QueryCacheNotifyEvent) => {
        this.onQuery(event);
      }),
    ];
  }

  stop(): void {
    this.stopEvents();
    for (const stop of this.stopOthers) stop();
  }

  clear(): void {
    this.entries = [];
    this.affected.clear();
    this.changes.notify(undefined);
  }

  /** Listen after the binding, which marks the queries in its own listener of the same event. */
  private listen(): () => void {
    return this.connection.subscribe((event) => {
      this.stopEvents();
      this.stopEvents = this.listen();
      this.onEvent(event);
    });
  }

  private onEvent(event: NeverstaleEvent): void {
    const queries = [...this.invalidated].map((query) => {
      const { queryHash } = query;
      const affected: AffectedQuery = {
        queryHash,
        state: 'stale',
        beganAt: undefined,
        tookMs: undefined,
      };
      this.affected.set(query, (this.affected.get(query) ?? new Set()).add(affected));
      return affected;
    });
    this.invalidated.clear();
    this.add({ kind: 'event', at: this.now(), event, queries });
  }

  private onStatus(): void {
    const status = this.connection.status();
    if (status !== this.status) {
      this.status = status;
      const { lastError } = this.connection.info();
      this.add({ kind: 'status', at: this.now(), status, lastError });
    }
    this.changes.notify(undefined);
  }

  private onQuery(event: QueryCacheNotifyEvent): void {
    const query = event.query as Query;
    if (event.type === 'removed') this.move(query, 'removed');
    if (event.type !== 'updated') return;
    const { action } = event;
    if (action.type === 'invalidate') {
      // What the app itself invalidates is in another task than any event.
      if (this.invalidated.size === 0) {
        queueMicrotask(() => {
          this.invalidated.clear();
        });
      }
      this.invalidated.add(query);
    } else if (action.type === 'fetch') {
      this.move(query, 'fetching');
    } else if (action.type === 'error') {
      this.move(query, 'failed');
    } else if (action.type === 'success' && action.manual !== true) {
      this.move(query, 'refetched');
    } else if (action.type === 'setState' && query.state.fetchStatus === 'idle') {
      this.move(query, 'stale'); // the fetch was cancelled
    }
  }

  private move(query: Query, state: AffectedQuery['state']): void {
    const affected = this.affected.get(query);
    if (affected === undefined) return;
    const now = this.now();
    for (const one of affected) {
      const begins = state === 'fetching';
      // A fetch that began before the event does not count.
      if (!begins && state !== 'removed' && one.state !== 'fetching') continue;
      one.state = state;
      if (begins) one.beganAt = now;
      else one.tookMs = now - (one.beganAt ?? now);
      if (state === 'refetched' || state === 'removed') affected.delete(one);
    }
    if (affected.size === 0) this.affected.delete(query);
    this.changes.notify(undefined);
  }

  private add(entry: Entry): void {
    this.entries = [...this.entries, entry].slice(-MAX_ENTRIES);
    this.changes.notify(undefined);
  }

  private now(): number {
    return this.connection.environment.now();
  }
}
