import type { Query, QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import type { Coverage } from './projects.js';

/** How long a query in use waits for a project that is connecting before it counts as missing. */
const GRACE_MS = 3_000;
const POLL_MS = 30_000;
/** How long after a signal, e.g. `online`, it is clear whether the connection is trying again. */
const SIGNAL_MS = 100;
/** Polls are spread by this part of the interval in both directions. */
const JITTER = 0.2;

interface Use {
  readonly at: number;
  /** The app has written something: a fetch that is in flight does not contain it. */
  readonly isWrite: boolean;
}

export interface FallbackListener {
  readonly coverage: (query: Query) => Coverage;
  /** Marks the queries as stale and refetches them. */
  readonly refetch: (queries: readonly Query[]) => void;
}

/**
 * Refetches the queries that no events keep fresh when TanStack Query does by default: when they
 * are mounted, when the page gets the focus and when the network returns. Also after each of the
 * app's mutations, and at an interval.
 */
export class Fallback {
  /** The latest use of each query that waits for a connecting project. */
  private readonly uses = new Map<Query, Use>();
  private readonly stops: (() => void)[];
  private stopWaiting: (() => void) | undefined;
  private stopPolling: (() => void) | undefined;
  private stopSignal: (() => void) | undefined;
  private isLive = false;

  /**
   * @param pollMs - returns the interval of refetches while the page is visible; false: none. Read
   *   before each, because the app may change its options at any time
   */
  constructor(
    private readonly connection: Connection,
    private readonly client: QueryClient,
    private readonly on: FallbackListener,
    private readonly pollMs: () => number | false | undefined,
  ) {
    this.stops = [
      client.getQueryCache().subscribe((event) => {
        // Listeners run before the observer decides whether to fetch; it loads missing data itself.
        const isMount = event.type === 'observerAdded' && event.query.state.data !== undefined;
        if (isMount) this.use([event.query as Query], false);
      }),
      client.getMutationCache().subscribe((event) => {
        if (event.type === 'updated' && event.action.type === 'success') this.useActive(true);
      }),
      connection.environment.onSignal((signal) => {
        if (signal !== 'offline') this.onSignal();
      }),
      connection.onStatus(() => {
        this.onStatus();
      }),
    ];
    this.useActive();
    this.onStatus();
  }

  stop(): void {
    for (const stop of this.stops) stop();
    this.stopWaiting?.();
    this.stopPolling?.();
    this.stopSignal?.();
  }

  /** The connection gets the same signal, possibly after this or in another tab. */
  private onSignal(): void {
    const { environment } = this.connection;
    const at = environment.now();
    this.stopSignal ??= environment.setTimer(() => {
      this.stopSignal = undefined;
      this.useActive(false, at);
    }, SIGNAL_MS);
  }

  private onStatus(): void {
    const { connection, isLive: wasLive } = this;
    const ids = [undefined, ...connection.projects()];
    this.isLive = ids.every((id) => connection.status(id) === 'live');
    if (!this.isLive) {
      this.poll();
    } else if (!wasLive) {
      this.stopPolling?.();
      this.stopPolling = undefined;
      if (this.active().some((query) => !this.isCovered(query))) this.poll();
    }
    this.update(this.uses.keys());
  }

  private useActive(isWrite = false, at?: number): void {
    this.use(this.active(), isWrite, at);
  }

  private active(): Query[] {
    return this.client.getQueryCache().findAll({ type: 'active' });
  }

  /** Whether events keep a query fresh, or nothing can. */
  private isCovered(query: Query): boolean {
    return ['live', 'forbidden'].includes(this.on.coverage(query));
  }

  private use(
    queries: readonly Query[],
    isWrite: boolean,
    at = this.connection.environment.now(),
  ): void {
    for (const query of queries) {
      if (isWrite || query.state.fetchStatus === 'idle') this.uses.set(query, { at, isWrite });
    }
    this.update(queries);
  }

  /** Refetch those of the used queries that no events keep fresh; keep those that may be soon. */
  private update(queries: Iterable<Query>): void {
    const due: Query[] = [];
    for (const query of queries) {
      const use = this.uses.get(query);
      if (use === undefined) continue;
      const isCovered = this.isCovered(query);
      if (!isCovered) this.poll();
      if (this.on.coverage(query) === 'connecting' && this.wait(use.at)) continue;
      this.uses.delete(query);
      if (!isCovered && isStillWanted(query, use)) due.push(query);
    }
    this.on.refetch(due);
  }

  /** Wait for what is connecting; false once it has been for too long. */
  private wait(usedAt: number): boolean {
    const { connection } = this;
    const { environment } = connection;
    // A connection has been connecting since before the use.
    const since = connection.status() === 'connecting' ? connection.info().since : usedAt;
    const ms = since + GRACE_MS - environment.now();
    if (ms <= 0) return false;
    this.stopWaiting ??= environment.setTimer(() => {
      this.stopWaiting = undefined;
      this.update(this.uses.keys());
    }, ms);
    return true;
  }

  private poll(): void {
    const pollMs = this.pollMs() ?? POLL_MS;
    if (pollMs === false || this.stopPolling) return;
    const { environment } = this.connection;
    const jitter = 1 + JITTER * (2 * environment.random() - 1);
    this.stopPolling = environment.setTimer(() => {
      this.stopPolling = undefined;
      // Without a valid token most requests would be refused.
      if (environment.isVisible() && this.connection.status() !== 'unauthorized') this.useActive();
    }, pollMs * jitter);
  }
}

function isStillWanted(query: Query, { at, isWrite }: Use): boolean {
  const isFetched = query.state.fetchStatus !== 'idle' || query.state.dataUpdatedAt >= at;
  return query.getObserversCount() > 0 && (isWrite || !isFetched);
}
