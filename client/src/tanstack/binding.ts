import type { Query, QueryClient, QueryKey } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { backoffMs } from '../core/backoff.js';
import type { Change, NeverstaleEvent, Stale } from '../core/events.js';
import { projectChannel, projectOf, type Cursors } from '../core/protocol.js';
import { Freshness } from './freshness.js';
import { serverCursors } from './hydration.js';
import type { StaleMark } from './in-flight.js';
import { defaultMapping, mayBeOf, startsWith, type Mapping, type Targets } from './mapping.js';
import { writeCursors } from './stored-cursors.js';

export interface BindingOptions {
  /** Entries to add to the default mapping, or that replace its entries. */
  mapping?: Mapping;
  /**
   * Whether a query may hold data of a project; `others` are the project ids seen in events so far.
   * Default: yes, unless its key contains the UUID of another project and not this one's id.
   */
  isOf?: (queryKey: QueryKey, projectId: string, others: ReadonlySet<string>) => boolean;
  /** Events within this time share one refetch, in milliseconds. Default: 10. */
  batchMs?: number;
  /**
   * Refetch the queries that a change made stale once more after this time, in milliseconds, for
   * reads from lagging replicas. Default: never.
   */
  settleMs?: number;
  /** Whether to keep retrying a stale query in use whose fetch failed. Default: always. */
  shouldRetry?: (error: unknown) => boolean;
  /**
   * Whether a query already contains this change, e.g. because a mutation's response was written to
   * it. Not always safe: one event may stand for several changes of its row. Default: no.
   */
  isEcho?: (change: Change, queryKey: QueryKey) => boolean;
}

/** Applies a connection's events to a query cache: marks queries stale and refetches them. */
export class Binding {
  private readonly mapping: Mapping;
  private readonly freshness: Freshness;
  private readonly projectIds = new Set<string>();
  private readonly warned = new Set<string>();
  private readonly tries = new WeakMap<Query, number>();
  private readonly timers = new Set<() => void>();
  private readonly unsubscribe: () => void;
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
    private readonly options: BindingOptions,
  ) {
    this.mapping = { ...defaultMapping, ...options.mapping };
    this.freshness = new Freshness(
      client,
      connection.environment,
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
    this.unsubscribe = connection.subscribe((event) => {
      this.receive(event);
    });
  }

  stop(): void {
    this.isStopped = true;
    this.unsubscribe();
    this.freshness.stop();
    for (const stopTimer of this.timers) stopTimer();
  }

  /** The cursors up to which every query in the cache is fresh or known to be stale. */
  private cursors(): Cursors {
    const [oldest] = this.pending;
    return oldest?.cursors ?? this.connection.cursors();
  }

  private isRenderedSince(query: Query): boolean {
    const cursors = serverCursors(query);
    return cursors !== undefined && this.isCurrent(query, cursors);
  }

  /** Whether no event came since these cursors that may concern the query. */
  private isCurrent(query: Query, cursors: Cursors): boolean {
    for (const channel of Object.keys(cursors)) this.addProject(projectOf(channel));
    return Object.entries(this.connection.cursors()).every(
      ([channel, cursor]) => cursors[channel] === cursor || !this.isOf(query, projectOf(channel)),
    );
  }

  private receive(event: NeverstaleEvent): void {
    this.addProject(event.projectId);
    if (event.type === 'stale') this.onStale(event);
    else this.onChange(event);
  }

  private addProject(projectId: string | null | undefined): void {
    if (projectId) this.projectIds.add(projectId);
  }

  private onStale(event: Stale): void {
    const { projectId, fetchedBefore, spreadMs, before } = event;
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
    const delayMs = environment.isVisible() ? 0 : environment.random() * spreadMs;
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
  private targets(change: Change): Required<Targets> | undefined {
    const { resource } = change;
    const map = Object.hasOwn(this.mapping, resource) ? this.mapping[resource] : undefined;
    if (map === undefined) {
      const then = 'each of its changes makes its whole project stale';
      this.warnOnce(`no mapping for the resource "${resource}"`, then);
      return undefined;
    }
    const read = (): Required<Targets> => {
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
    return this.callApp('isOf', () => isOf(queryKey, projectId, this.projectIds), true);
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

  private refetchSoon(queries: readonly Query[], before: Cursors): void {
    for (const query of queries) this.due.add(query);
    if (this.release) return;
    this.release = this.holdCursors(before);
    this.setTimer(this.options.batchMs ?? 10, () => {
      void this.refetch();
    });
  }

  private async refetch(): Promise<void> {
    const { due, dueUnused, release } = this;
    this.due = new Set();
    this.dueUnused = new Set();
    this.release = undefined;
    const isWanted = (query: Query): boolean =>
      due.has(query) &&
      this.freshness.isStale(query) &&
      (query.isActive() || (dueUnused.has(query) && query.options.queryFn !== undefined));
    // Do not cancel an in-flight fetch, or a stream of events could prevent a slow query from ever
    // completing. Its result stays marked stale and is fetched again.
    await this.client.refetchQueries({ predicate: isWanted }, { cancelRefetch: false });
    release?.();
  }

  private retryLater(query: Query): void {
    const { shouldRetry = () => true } = this.options;
    const { error } = query.state;
    if (error !== null && !this.callApp('shouldRetry', () => shouldRetry(error), true)) return;
    const tries = this.tries.get(query) ?? 0;
    this.tries.set(query, tries + 1);
    this.setTimer(backoffMs(tries, this.connection.environment.random()), () => {
      if (this.freshness.isStale(query)) this.refetchSoon([query], this.cursors());
    });
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
