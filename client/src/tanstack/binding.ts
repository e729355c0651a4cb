import type { Query, QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { backoffMs } from '../core/backoff.js';
import type { Change, NeverstaleEvent, Stale } from '../core/events.js';
import { projectChannel, projectOf, type Cursors } from '../core/protocol.js';
import { Fallback } from './fallback.js';
import { Freshness } from './freshness.js';
import { serverCursors } from './hydration.js';
import type { StaleMark } from './in-flight.js';
import {
  defaultMapping,
  mayBeOf,
  startsWith,
  type MappingEntries,
  type Targets,
} from './mapping.js';
import { MAX_DEFER_MS, MutationDeferral } from './mutations.js';
import type { ConnectQueryClientOptions } from './options.js';
import { Projects } from './projects.js';
import type { QueryKey } from './query-client.js';
import { isOurs, readCursors, writeCursors } from './stored-cursors.js';

/** Applies a connection's events to a query cache: marks queries stale and refetches them. */
export class Binding {
  private readonly freshness: Freshness;
  private readonly deferral: MutationDeferral;
  private readonly projects: Projects;
  private readonly fallback: Fallback;
  private readonly warned = new Set<string>();
  private readonly tries = new WeakMap<Query, number>();
  private readonly timers = new Set<() => void>();
  private readonly unsubscribe: (() => void)[];
  /** The cursors before each event whose refetches have not settled, oldest first. */
  private readonly pending = new Set<{ readonly cursors: Cursors }>();
  private due = new Set<Query>();
  /** The queries of `due` to refetch even if no observer uses them. */
  private dueUnused = new Set<Query>();
  private release: (() => void) | undefined;
  private isStopped = false;

  constructor(
    private readonly connection: Connection,
    private readonly client: QueryClient,
    private readonly options: ConnectQueryClientOptions,
  ) {
    this.projects = new Projects(connection, (query, id) => this.isOf(query, id));
    this.deferral = new MutationDeferral(client, this.setTimer.bind(this), {
      mayAffect: (mutation, queryKey) => {
        const { mayAffect = () => true } = options;
        return this.callApp('mayAffect', () => mayAffect(mutation, queryKey), true);
      },
      maxDeferMs: () => options.maxDeferMs ?? MAX_DEFER_MS,
      batchMs: () => this.batchMs(),
    });
    this.freshness = new Freshness(
      client,
      connection.environment,
      this.deferral,
      {
        stale: (query) => {
          this.refetchSoon([query], this.cursors());
        },
        failed: (query) => {
          this.retryLater(query);
        },
        fresh: (query) => {
          this.tries.delete(query);
        },
      },
      (query, cursors) => this.isCurrent(query, cursors),
    );
    this.unsubscribe = [
      connection.subscribe((event) => {
        this.receive(event);
      }),
      connection.onStatus(() => {
        this.onStatus();
      }),
      connection.environment.onSignal((signal) => {
        if (signal === 'visible' && this.due.size > 0) this.refetchSoon([], this.cursors());
      }),
    ];
    this.onStatus();
    this.catchUp();
    this.fallback = new Fallback(
      connection,
      client,
      {
        coverage: (query) => this.projects.coverage(query),
        refetch: (queries) => {
          this.refetchStale(queries);
        },
      },
      () => options.pollMs,
    );
  }

  stop(): void {
    this.isStopped = true;
    for (const unsubscribe of this.unsubscribe) unsubscribe();
    this.fallback.stop();
    this.freshness.stop();
    this.deferral.stop();
    for (const stopTimer of this.timers) stopTimer();
  }

  /** The cursors up to which every query in the cache is fresh or known to be stale. */
  private cursors(): Cursors {
    const [oldest] = this.pending;
    return oldest?.cursors ?? this.connection.cursors();
  }

  /** Mark as stale what changed since the stored cursors and before this binding. */
  private catchUp(): void {
    const stored = readCursors(this.client);
    this.projects.addChannels(stored);
    const moved = Object.entries(this.connection.cursors())
      .filter(([channel, cursor]) => stored[channel] !== cursor)
      .map(([channel]) => projectOf(channel));
    if (moved.length === 0) return;
    const matches = (query: Query): boolean =>
      moved.some((id) => this.isOf(query, id)) && !this.isRenderedSince(query);
    this.refetchSoon(this.freshness.mark({ matches }), stored);
  }

  private onStatus(): void {
    const { forbidden, live } = this.projects.update();
    if (forbidden.length > 0 && !this.options.keepForbidden) this.dropForbidden();
    if (live.length > 0) this.refetchFailed(live);
  }

  /** Refetch the queries whose data is missing or still stale, now that their projects are live. */
  private refetchFailed(projectIds: readonly (string | undefined)[]): void {
    const isFailed = (query: Query): boolean =>
      query.state.fetchStatus === 'idle' &&
      (query.state.data === undefined || this.freshness.isStale(query)) &&
      projectIds.some((id) => this.isOf(query, id));
    this.refetchStale(this.client.getQueryCache().findAll({ type: 'active' }).filter(isFailed));
  }

  /** Mark queries as stale and refetch them where they are in use. */
  private refetchStale(queries: readonly Query[]): void {
    if (queries.length === 0) return;
    // A query without data is not marked: a failing first load would be retried without end.
    const matches = (query: Query): boolean =>
      query.state.data !== undefined && queries.includes(query);
    this.freshness.mark({ matches });
    this.refetchSoon(queries, this.cursors());
  }

  private dropForbidden(): void {
    for (const query of this.client.getQueryCache().getAll()) {
      if (isOurs(query) || this.projects.coverage(query) !== 'forbidden') continue;
      // A query that was removed would stay on the screen of its observers.
      if (query.getObserversCount() > 0) query.reset();
      else this.client.getQueryCache().remove(query);
    }
  }

  /** Whether the query's data was rendered by a server, and no event came since. */
  private isRenderedSince(query: Query): boolean {
    const cursors = serverCursors(query);
    return cursors !== undefined && this.isCurrent(query, cursors);
  }

  /** Whether no event came since these cursors that may concern the query. */
  private isCurrent(query: Query, cursors: Cursors): boolean {
    this.projects.addChannels(cursors);
    return Object.entries(this.connection.cursors()).every(
      ([channel, cursor]) => cursors[channel] === cursor || !this.isOf(query, projectOf(channel)),
    );
  }

  private receive(event: NeverstaleEvent): void {
    this.projects.add(event.projectId);
    if (event.type === 'stale') this.onStale(event);
    else this.onChange(event);
  }

  private onStale(event: Stale): void {
    const { projectId, reason, fetchedBefore, spreadMs, before } = event;
    if (projectId !== undefined && reason === 'access_changed') this.projects.suspend(projectId);
    // Only a project's first cursor proves that what a server fetched after it is fresh.
    const channel = projectId === undefined ? undefined : projectChannel(projectId);
    const isFirst =
      channel !== undefined &&
      before[channel] === undefined &&
      this.connection.cursors()[channel] !== undefined;
    const matches = (query: Query): boolean =>
      this.isOf(query, projectId) && !(isFirst && this.isRenderedSince(query));
    const stale = this.freshness.mark({ matches, fetchedBefore });
    const { environment } = this.connection;
    const isHidden = !environment.isVisible() && !this.isAsleep();
    const delayMs = isHidden ? environment.random() * spreadMs : 0;
    if (delayMs === 0) {
      this.refetchSoon(stale, before);
      return;
    }
    const release = this.holdCursors(before);
    const refetch = (): void => {
      stopTimer();
      stopSignals();
      this.refetchSoon(stale, this.cursors());
      release();
    };
    const stopTimer = this.setTimer(delayMs, refetch);
    const stopSignals = environment.onSignal((signal) => {
      if (signal === 'visible') refetch();
    });
  }

  private onChange(change: Change): void {
    const { projectId, before } = change;
    const targets = this.targets(change);
    if (targets === undefined) {
      this.apply({ matches: (query) => this.isOf(query, projectId) }, before, change);
      return;
    }
    const { invalidate, refetch } = targets;
    const isIn = (keys: readonly QueryKey[]) => (query: Query) =>
      keys.some((key) => startsWith(query.queryKey, key));
    this.apply({ matches: isIn([...invalidate, ...refetch]) }, before, change, isIn(refetch));
  }

  /** Return the query keys affected by a change; undefined if unknown. */
  private targets(change: Change): Record<keyof Targets, QueryKey[]> | undefined {
    const { resource } = change;
    // Read at each event: the app may change it at any time.
    const mapping: MappingEntries = { ...defaultMapping, ...this.options.mapping };
    const map = Object.hasOwn(mapping, resource) ? mapping[resource] : undefined;
    if (map === undefined) {
      const then = 'each of its changes makes its whole project stale';
      this.warnOnce(`no mapping for the resource "${resource}"`, then);
      return undefined;
    }
    const read = (): Record<keyof Targets, QueryKey[]> => {
      const { invalidate = [], refetch = [] } = map(change);
      return { invalidate: [...invalidate], refetch: [...refetch] };
    };
    return this.callApp(`the mapping of "${resource}"`, read, undefined);
  }

  private apply(
    { matches }: StaleMark,
    before: Cursors,
    change: Change,
    isWantedUnused: (query: Query) => boolean = () => false,
  ): void {
    const { isEcho = () => false, settleMs = 0 } = this.options;
    const mark = {
      matches: (query: Query) =>
        matches(query) && !this.callApp('isEcho', () => isEcho(change, query.queryKey), false),
    };
    const refetch = (cursors: Cursors): void => {
      const stale = this.freshness.mark(mark);
      for (const query of stale) if (isWantedUnused(query)) this.dueUnused.add(query);
      this.refetchSoon(stale, cursors);
    };
    refetch(before);
    if (settleMs === 0) return;
    const release = this.holdCursors(before);
    this.setTimer(settleMs, () => {
      refetch(this.cursors());
      release();
    });
  }

  /** An event without a project may concern any query. */
  private isOf({ queryKey }: Query, projectId: string | null | undefined): boolean {
    if (projectId === null || projectId === undefined) return true;
    const { isOf = mayBeOf } = this.options;
    return this.callApp('isOf', () => isOf(queryKey, projectId, this.projects.known), true);
  }

  /** Call an app's function. If it throws, return `otherwise`: the event must still be applied. */
  private callApp<T>(name: string, call: () => T, otherwise: T): T {
    try {
      return call();
    } catch (error) {
      this.warnOnce(`${name} failed`, String(error));
      return otherwise;
    }
  }

  private warnOnce(problem: string, more: string): void {
    if (this.warned.has(problem)) return;
    this.warned.add(problem);
    this.connection.environment.warn(`${problem}: ${more}`);
  }

  /** Whether a query may be refetched now: no mutation in flight may affect it. */
  mayRefetch(query: Query): boolean {
    return this.deferral.mayRefetch(query);
  }

  private refetchSoon(queries: readonly Query[], before: Cursors): void {
    for (const query of queries) this.due.add(query);
    if (this.release) return;
    this.release = this.holdCursors(before);
    this.setTimer(this.batchMs(), () => {
      void this.refetch();
    });
  }

  private batchMs(): number {
    return this.options.batchMs ?? 10;
  }

  private async refetch(): Promise<void> {
    const { due, dueUnused, release } = this;
    this.release = undefined;
    const isAsleep = this.isAsleep();
    if (!isAsleep) {
      this.due = new Set();
      this.dueUnused = new Set();
    }
    const isWanted = (query: Query): boolean =>
      !isAsleep &&
      due.has(query) &&
      (this.freshness.isStale(query) || query.state.data === undefined) &&
      this.projects.coverage(query) !== 'forbidden' &&
      (query.isActive() || (dueUnused.has(query) && query.options.queryFn !== undefined));
    // Do not cancel an in-flight fetch, or a stream of events could prevent a slow query from ever
    // completing. Its result stays marked stale and is fetched again.
    const refetch = (predicate: (query: Query) => boolean): Promise<void> =>
      this.client.refetchQueries({ predicate }, { cancelRefetch: false });
    const deferred = new Set([...due].filter((query) => !this.mayRefetch(query)));
    const refetchLater = async (query: Query): Promise<void> => {
      await this.deferral.settled(query);
      if (isWanted(query)) await refetch((other) => other === query);
    };
    await Promise.all([
      refetch((query) => isWanted(query) && !deferred.has(query)),
      ...[...deferred].map(refetchLater),
    ]);
    // Queries that are not refetched are known to be stale, unless an older fetch completes after
    // this binding has stopped.
    await Promise.allSettled([...due].flatMap(({ promise }) => promise ?? []));
    release?.();
  }

  private retryLater(query: Query): void {
    if (!this.mayRetry(query)) return;
    const { shouldRetry = () => true } = this.options;
    const { error } = query.state;
    if (error !== null && !this.callApp('shouldRetry', () => shouldRetry(error), true)) return;
    const tries = this.tries.get(query) ?? 0;
    this.tries.set(query, tries + 1);
    this.setTimer(backoffMs(tries, this.connection.environment.random()), () => {
      if (this.freshness.isStale(query)) this.refetchSoon([query], this.cursors());
    });
  }

  /** Whether retrying may help: not while the user is signed out or may not see the project. */
  private mayRetry(query: Query): boolean {
    return (
      this.connection.status() !== 'unauthorized' && this.projects.coverage(query) !== 'forbidden'
    );
  }

  /** Whether stale queries wait until the page is visible. */
  private isAsleep(): boolean {
    return !this.options.refetchHidden && !this.connection.environment.isVisible();
  }

  private holdCursors(cursors: Cursors): () => void {
    const entry = { cursors };
    this.pending.add(entry);
    return () => {
      this.pending.delete(entry);
      if (!this.isStopped) writeCursors(this.client, this.cursors());
    };
  }

  private setTimer(ms: number, call: () => void): () => void {
    const stopTimer = this.connection.environment.setTimer(() => {
      this.timers.delete(stop);
      call();
    }, ms);
    const stop = (): void => {
      this.timers.delete(stop);
      stopTimer();
    };
    this.timers.add(stop);
    return stop;
  }
}
