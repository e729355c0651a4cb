import type { Mutation, Query, QueryClient } from '@tanstack/query-core';

import type { PendingMutation } from './options.js';
import type { QueryKey } from './query-client.js';

/** The default of `maxDeferMs`. */
export const MAX_DEFER_MS = 5_000;
/** The longest delay of a JavaScript timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Whether a mutation is running: not one that is paused, e.g. offline or queued in its scope. */
export function isInFlight({ state }: Pick<Mutation, 'state'>): boolean {
  return state.status === 'pending' && !state.isPaused;
}

/** How to defer; asked at each use, because the app may change its options at any time. */
interface Rule {
  readonly mayAffect: (mutation: PendingMutation, queryKey: QueryKey) => boolean;
  readonly maxDeferMs: () => number;
  /** The time that a mutation's caller has to refetch by itself when it has settled. */
  readonly batchMs: () => number;
}

interface Wait {
  readonly promise: Promise<void>;
  readonly end: () => void;
}

/**
 * Defers refetches until the mutations in flight have settled.
 *
 * A refetch in the meantime would replace what the mutation shows optimistically by what the server
 * had before it.
 */
export class MutationDeferral {
  /** The mutations in flight, and whether refetches still wait for them. */
  private readonly inFlight = new Map<Mutation, { isAwaited: boolean; stopTimer: () => void }>();
  private readonly waits = new Map<Query, Wait>();
  private readonly unsubscribe: () => void;

  constructor(
    client: QueryClient,
    private readonly setTimer: (ms: number, call: () => void) => () => void,
    private readonly rule: Rule,
  ) {
    const cache = client.getMutationCache();
    for (const mutation of cache.getAll()) this.update(mutation);
    this.unsubscribe = cache.subscribe((event) => {
      if (event.type === 'updated') this.update(event.mutation as Mutation);
    });
  }

  stop(): void {
    this.unsubscribe();
  }

  /** Whether a query may be refetched without hiding what a mutation in flight shows. */
  mayRefetch({ queryKey }: Query): boolean {
    return ![...this.inFlight].some(([{ options, state }, { isAwaited }]) => {
      const { mutationKey, meta } = options;
      const mutation = { mutationKey, meta, variables: state.variables };
      return isAwaited && this.rule.mayAffect(mutation, queryKey);
    });
  }

  /** Resolve when a query may be refetched, after `maxDeferMs` at the latest. */
  settled(query: Query): Promise<void> {
    const wait = this.waits.get(query) ?? this.startWait(query);
    return wait.promise;
  }

  private startWait(query: Query): Wait {
    let end: () => void = () => undefined;
    const promise = new Promise<void>((resolve) => {
      end = () => {
        stopTimer();
        this.waits.delete(query);
        resolve();
      };
      // Mutations that overlap must not defer a refetch again and again.
      const stopTimer = this.setTimer(this.maxDeferMs(), end);
    });
    const wait = { promise, end };
    this.waits.set(query, wait);
    return wait;
  }

  private update(mutation: Mutation): void {
    const current = this.inFlight.get(mutation);
    if (isInFlight(mutation)) {
      if (!current && this.maxDeferMs() > 0) this.begin(mutation);
    } else if (current) {
      current.stopTimer();
      this.inFlight.delete(mutation);
      // Wait for what follows at once: a refetch by the app, or the next mutation of the scope.
      this.setTimer(this.rule.batchMs(), () => {
        this.endWaits();
      });
    }
  }

  private begin(mutation: Mutation): void {
    const stopTimer = this.setTimer(this.maxDeferMs(), () => {
      entry.isAwaited = false;
      this.endWaits();
    });
    const entry = { isAwaited: true, stopTimer };
    this.inFlight.set(mutation, entry);
  }

  private maxDeferMs(): number {
    return Math.min(this.rule.maxDeferMs(), MAX_TIMER_MS);
  }

  private endWaits(): void {
    for (const [query, { end }] of this.waits) if (this.mayRefetch(query)) end();
  }
}
