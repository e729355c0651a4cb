import { matchQuery, type Query, type QueryClient, type QueryKey } from '@tanstack/react-query';
import type { Change, NeverstaleEvent } from 'neverstale';
import { readCursors } from 'neverstale/tanstack';

import { mapping } from './queries';

export interface Entry {
  readonly number: number;
  readonly title: string;
  readonly detail: string;
  /** From the commit to the browser; undefined for resets and for what was missed. */
  readonly latencyMs: number | undefined;
  /** The change was made while the page was not live. */
  readonly isCaughtUp: boolean;
  readonly refetched: readonly string[];
}

export interface Summary {
  readonly entries: readonly Entry[];
  readonly count: number;
  readonly medianMs: number | undefined;
  /** Ids of the rows that changed while the page was not live, for some seconds. */
  readonly caughtUp: ReadonlySet<string>;
}

/** An event that a fetch may still be attributed to. */
interface OpenEvent {
  readonly number: number;
  readonly until: number;
  readonly matches: (query: Query) => boolean;
}

const MAX_ENTRIES = 40;
const MAX_LATENCIES = 200;
/** A fetch within this time after an event is attributed to it. */
const ATTRIBUTION_MS = 1_500;
/** Render at most ten times a second, however many events arrive. */
const RENDER_INTERVAL_MS = 100;
const CAUGHT_UP_MS = 10_000;
const NAMES: Readonly<Record<string, string>> = {
  projectMembers: 'members',
  'projects list': 'project list',
  'projects detail': 'project',
};

/** Records the received events, their latency, and the queries that were refetched for them. */
export class Journal {
  private entries: Entry[] = [];
  private open: OpenEvent[] = [];
  private latencies: number[] = [];
  private caughtUp: ReadonlySet<string> = new Set();
  private count = 0;
  /** When the shown project became live; infinite while it is not. */
  private liveSince = Infinity;
  /** When each project was first shown. It has missed nothing that was changed before. */
  private readonly shownSince = new Map<string | undefined, number>();
  private projectId: string | undefined;
  private lastChange: Change | undefined;
  private renderTimer: ReturnType<typeof setTimeout> | undefined;
  private caughtUpTimer: ReturnType<typeof setTimeout> | undefined;
  private summary = this.summarize();
  private readonly listeners = new Set<() => void>();

  constructor(private readonly queryClient: QueryClient) {
    queryClient.getQueryCache().subscribe((event) => {
      if (event.type === 'updated' && event.action.type === 'fetch')
        this.recordFetch(event.query as Query);
    });
  }

  /** Set the project that is shown, and whether its changes arrive as they are made. */
  setLive(projectId: string | undefined, isLive: boolean): void {
    const isRestored = `project:${projectId ?? ''}` in readCursors(this.queryClient);
    const shownSince = this.shownSince.get(projectId) ?? (isRestored ? 0 : Infinity);
    this.projectId = projectId;
    this.liveSince = isLive ? Date.now() : Infinity;
    this.shownSince.set(projectId, Math.min(shownSince, this.liveSince));
  }

  readonly record = (event: NeverstaleEvent): void => {
    const now = Date.now();
    if (event.type === 'change') this.lastChange = event;
    const changedAt = this.changedAt(event) ?? now;
    if (changedAt < (this.shownSince.get(this.projectId) ?? Infinity)) return;
    this.count += 1;
    const number = this.count;
    const isCaughtUp = changedAt < this.liveSince;
    const isMeasured = event.type === 'change' && !isCaughtUp;
    const latencyMs = isMeasured ? Math.max(0, now - changedAt) : undefined;
    if (latencyMs !== undefined)
      this.latencies = [latencyMs, ...this.latencies.slice(0, MAX_LATENCIES - 1)];
    if (isCaughtUp) this.recordCaughtUp(event.type === 'change' ? event.id : 'everything');
    const entry = { number, latencyMs, isCaughtUp, refetched: [], ...describe(event) };
    this.entries = [entry, ...this.entries.slice(0, MAX_ENTRIES - 1)];
    this.open = this.open.filter(({ until }) => until > now);
    this.open.push({ number, until: now + ATTRIBUTION_MS, matches: targets(event) });
    this.scheduleRender();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly read = (): Summary => this.summary;

  /** When what an event tells of happened; undefined: not known, so perhaps just now. */
  private changedAt(event: NeverstaleEvent): number | undefined {
    if (event.type === 'change') return Date.parse(event.timestamp);
    const { lastChange } = this;
    // The change that gave or took access comes right before the reset that it causes.
    const isItsReset =
      event.reason === 'access_changed' && event.projectId === lastChange?.projectId;
    return lastChange && isItsReset ? Date.parse(lastChange.timestamp) : event.fetchedBefore;
  }

  private recordCaughtUp(id: string): void {
    this.caughtUp = new Set([...this.caughtUp, id]);
    clearTimeout(this.caughtUpTimer);
    this.caughtUpTimer = setTimeout(() => {
      this.caughtUp = new Set();
      this.scheduleRender();
    }, CAUGHT_UP_MS);
  }

  private recordFetch(query: Query): void {
    const now = Date.now();
    const due = this.open.filter(({ until, matches }) => until > now && matches(query));
    const numbers = new Set(due.map(({ number }) => number));
    const name = nameOf(query.queryKey);
    this.entries = this.entries.map((entry) =>
      numbers.has(entry.number) && !entry.refetched.includes(name)
        ? { ...entry, refetched: [...entry.refetched, name] }
        : entry,
    );
    this.scheduleRender();
  }

  private scheduleRender(): void {
    this.renderTimer ??= setTimeout(() => {
      this.renderTimer = undefined;
      this.summary = this.summarize();
      for (const listener of this.listeners) listener();
    }, RENDER_INTERVAL_MS);
  }

  private summarize(): Summary {
    const { entries, count, caughtUp } = this;
    const sorted = this.latencies.toSorted((a, b) => a - b);
    const medianMs = sorted[Math.floor(sorted.length / 2)];
    return { entries, count, medianMs, caughtUp };
  }
}

function describe(event: NeverstaleEvent): Pick<Entry, 'title' | 'detail'> {
  if (event.type === 'change') {
    return { title: `${event.resource} ${event.action}`, detail: event.id };
  }
  const of = event.projectId === undefined ? 'everything' : 'everything of a project';
  return { title: `reset: ${of}`, detail: event.reason };
}

function targets(event: NeverstaleEvent): (query: Query) => boolean {
  if (event.type === 'stale') {
    const { projectId } = event;
    return ({ queryKey }) =>
      projectId === undefined || queryKey.includes(projectId) || queryKey[1] === 'list';
  }
  const { invalidate = [], refetch = [] } = mapping[event.resource]?.(event) ?? {};
  return (query) => [...invalidate, ...refetch].some((queryKey) => matchQuery({ queryKey }, query));
}

function nameOf(key: QueryKey): string {
  const [first, second] = key.map(String);
  return NAMES[`${first ?? ''} ${second ?? ''}`] ?? NAMES[first ?? ''] ?? first ?? '';
}
