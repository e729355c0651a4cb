import { matchQuery, type Query, type QueryClient, type QueryKey } from '@tanstack/react-query';
import type { NeverstaleEvent } from 'neverstale';
import { defaultMapping, type Mapping } from 'neverstale/tanstack';

export interface Entry {
  readonly number: number;
  readonly title: string;
  readonly detail: string;
  /** From the commit to the browser; undefined for resets. */
  readonly latencyMs: number | undefined;
  readonly refetched: readonly string[];
}

export interface Summary {
  readonly entries: readonly Entry[];
  readonly count: number;
  readonly medianMs: number | undefined;
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
const NAMES: Readonly<Record<string, string>> = {
  projectMembers: 'members',
  'projects list': 'project list',
  'projects detail': 'project',
};

/** Records the received events, their latency, and the queries that were refetched for them. */
export class Journal {
  private summary: Summary = { entries: [], count: 0, medianMs: undefined };
  private entries: Entry[] = [];
  private open: OpenEvent[] = [];
  private latencies: number[] = [];
  private count = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();

  constructor(queryClient: QueryClient) {
    queryClient.getQueryCache().subscribe((event) => {
      if (event.type === 'updated' && event.action.type === 'fetch')
        this.recordFetch(event.query as Query);
    });
  }

  readonly record = (event: NeverstaleEvent): void => {
    this.count += 1;
    const now = Date.now();
    const latencyMs =
      event.type === 'change' ? Math.max(0, now - Date.parse(event.timestamp)) : undefined;
    if (latencyMs !== undefined)
      this.latencies = [latencyMs, ...this.latencies.slice(0, MAX_LATENCIES - 1)];
    const number = this.count;
    const entry = { number, latencyMs, refetched: [], ...describe(event) };
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
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const sorted = this.latencies.toSorted((a, b) => a - b);
      this.summary = {
        entries: this.entries,
        count: this.count,
        medianMs: sorted[Math.floor(sorted.length / 2)],
      };
      for (const listener of this.listeners) listener();
    }, RENDER_INTERVAL_MS);
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
  const { invalidate = [], refetch = [] } =
    (defaultMapping as Mapping)[event.resource]?.(event) ?? {};
  return (query) => [...invalidate, ...refetch].some((queryKey) => matchQuery({ queryKey }, query));
}

function nameOf(key: QueryKey): string {
  const [first, second] = key.map(String);
  return NAMES[`${first ?? ''} ${second ?? ''}`] ?? NAMES[first ?? ''] ?? first ?? '';
}
