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

interface Open {
  readonly number: number;
  readonly until: number;
  readonly matches: (query: Query) => boolean;
}

const MOST_ENTRIES = 40;
const MOST_LATENCIES = 200;
/** A fetch this long after an event may be due to it. */
const OPEN_MS = 1_500;
/** Hundreds of events a second are drawn ten times a second. */
const DRAW_MS = 100;
const NAMES: Readonly<Record<string, string>> = {
  projectMembers: 'members',
  'projects list': 'project list',
  'projects detail': 'project',
};

/** What was heard, how fast, and which queries were fetched for it. */
export class Journal {
  private summary: Summary = { entries: [], count: 0, medianMs: undefined };
  private entries: Entry[] = [];
  private open: Open[] = [];
  private latencies: number[] = [];
  private count = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();

  constructor(queryClient: QueryClient) {
    queryClient.getQueryCache().subscribe((event) => {
      if (event.type === 'updated' && event.action.type === 'fetch')
        this.note(event.query as Query);
    });
  }

  readonly hear = (event: NeverstaleEvent): void => {
    this.count += 1;
    const now = Date.now();
    const latencyMs =
      event.type === 'change' ? Math.max(0, now - Date.parse(event.timestamp)) : undefined;
    if (latencyMs !== undefined)
      this.latencies = [latencyMs, ...this.latencies.slice(0, MOST_LATENCIES - 1)];
    const number = this.count;
    const entry = { number, latencyMs, refetched: [], ...describe(event) };
    this.entries = [entry, ...this.entries.slice(0, MOST_ENTRIES - 1)];
    this.open = this.open.filter(({ until }) => until > now);
    this.open.push({ number, until: now + OPEN_MS, matches: targets(event) });
    this.draw();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly read = (): Summary => this.summary;

  private note(query: Query): void {
    const now = Date.now();
    const due = this.open.filter(({ until, matches }) => until > now && matches(query));
    const numbers = new Set(due.map(({ number }) => number));
    const name = nameOf(query.queryKey);
    this.entries = this.entries.map((entry) =>
      numbers.has(entry.number) && !entry.refetched.includes(name)
        ? { ...entry, refetched: [...entry.refetched, name] }
        : entry,
    );
    this.draw();
  }

  private draw(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const sorted = this.latencies.toSorted((a, b) => a - b);
      this.summary = {
        entries: this.entries,
        count: this.count,
        medianMs: sorted[Math.floor(sorted.length / 2)],
      };
      for (const listener of this.listeners) listener();
    }, DRAW_MS);
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
