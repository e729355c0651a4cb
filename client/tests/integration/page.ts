import { setTimeout as sleep } from 'node:timers/promises';

import { QueryClient, QueryObserver, type QueryKey } from '@tanstack/query-core';
import { expect, vi } from 'vitest';
import { WebSocket } from 'ws';

import {
  browserEnvironment,
  createConnection,
  type Connection,
  type ConnectionOptions,
  type EnvironmentSignal,
  type NeverstaleEvent,
} from '../../src/index.js';
import { neverstaleDefaults } from '../../src/persist/index.js';
import { connectQueryClient, readCursors, type Mapping } from '../../src/tanstack/index.js';
import type { Stack } from './stack.js';

/** Only to catch hangs. */
const HANG_MS = 20_000;
const MARKER_MS = 2_000;
/** Longer than the binding's `batchMs`. */
const BATCH_MS = 40;

/** The `ws` package as a browser has it: a failure is told by `onclose`, never thrown. */
class BrowserLikeSocket extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    this.on('error', () => undefined);
  }
}

vi.stubGlobal('WebSocket', BrowserLikeSocket);

export async function eventually(
  isSo: () => boolean,
  what: () => unknown,
  hangMs = HANG_MS,
): Promise<void> {
  await vi.waitFor(
    () => {
      if (!isSo()) throw new Error(`it never came to: ${JSON.stringify(what())}`);
    },
    { timeout: hangMs, interval: 10 },
  );
}

interface PageOptions {
  url: string;
  user: string;
  projects?: readonly string[];
  connection?: Partial<ConnectionOptions>;
  random?: () => number;
  /** Of an app that names its resources in its own way. */
  mapping?: Mapping;
  /** At most so long an answer takes once the database was read. Default: 0. */
  latencyMs?: number;
  maxDeferMs?: number;
  pollMs?: number | false;
  /** That of a user who was signed in before. */
  client?: QueryClient;
  /** What the app makes of an answer of the API. */
  label?: (answer: unknown) => unknown;
  /** Called with all that is on the screen, and when it changes. */
  onShown?: (queryKey: QueryKey, data: unknown) => void;
}

/** A page of an app: a real query cache, fed by the stack's API and kept fresh by its gateway. */
export class Page {
  readonly client: QueryClient;
  /** The keys fetched, in order. */
  fetched: string[] = [];
  events: NeverstaleEvent[] = [];
  readonly closeCodes: number[] = [];
  readonly warnings: string[] = [];
  sockets = 0;
  streams = 0;
  connection!: Connection;
  readonly user: string;
  private readonly open = new Map<string, () => void>();
  private readonly shown = new Map<string, () => void>();
  private readonly markers = new Set<string>();
  private readonly loadedAt = Date.now();
  private isVisible = true;
  private readonly onSignal = new Set<(signal: EnvironmentSignal) => void>();
  private stopBinding: () => void = () => undefined;

  constructor(
    private readonly stack: Stack,
    private readonly options: PageOptions,
  ) {
    this.user = options.user;
    this.client = options.client ?? new QueryClient();
    this.client.setDefaultOptions({
      ...neverstaleDefaults,
      queries: {
        ...neverstaleDefaults.queries,
        retry: false,
        queryFn: ({ queryKey }) => this.fetch(queryKey),
      },
    });
  }

  /** A page that is connected and hears its projects. */
  static async live(stack: Stack, options: PageOptions): Promise<Page> {
    const page = new Page(stack, options);
    page.connect();
    await page.untilLive();
    return page;
  }

  /** @param isBound - whether the query cache is bound from the start */
  connect(isBound = true): void {
    const { url, projects = [], connection, random = () => 0.1 } = this.options;
    const browser = browserEnvironment();
    this.connection = createConnection({
      url: url + this.stack.wsPath,
      getToken: () => this.stack.token(this.user),
      cursors: readCursors(this.client),
      environment: {
        ...browser,
        random,
        loadedAt: this.loadedAt,
        isVisible: () => this.isVisible,
        onSignal: (listener) => {
          this.onSignal.add(listener);
          return () => this.onSignal.delete(listener);
        },
        openSocket: (address, protocols, listener) => {
          this.sockets += 1;
          return browser.openSocket(address, protocols, {
            text: (text) => {
              listener.text(text);
            },
            closed: (code) => {
              this.closeCodes.push(code);
              listener.closed(code);
            },
          });
        },
        fetch: (address, init) => {
          this.streams += 1;
          return fetch(address, init);
        },
        warn: (text) => this.warnings.push(text),
      },
      ...connection,
    });
    for (const projectId of projects) this.enter(projectId);
    if (isBound) this.bind();
    this.connection.subscribe((event) => this.events.push(event));
  }

  /** Shares the connection of another page: a second query cache of one app. */
  join(page: Page): void {
    this.connection = page.connection;
    this.bind();
  }

  /** The user looks at it, or at something else. */
  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    if (isVisible) for (const listener of [...this.onSignal]) listener('visible');
  }

  /** The query cache hears of changes. */
  bind(): void {
    const { mapping, maxDeferMs, pollMs } = this.options;
    this.stopBinding();
    this.stopBinding = connectQueryClient(this.connection, this.client, {
      maxDeferMs,
      pollMs,
      mapping: {
        ...mapping,
        marker: ({ id }) => {
          this.markers.add(id);
          return {};
        },
      },
    });
  }

  /** The query cache hears of nothing; the connection stays. */
  unbind(): void {
    this.stopBinding();
  }

  /** A mutation of the app. */
  async mutate(mutationFn: () => Promise<unknown>): Promise<void> {
    await this.client.getMutationCache().build(this.client, { mutationFn }).execute(undefined);
  }

  enter(projectId: string): void {
    if (!this.open.has(projectId)) this.open.set(projectId, this.connection.open(projectId));
  }

  leave(projectId: string): void {
    this.open.get(projectId)?.();
    this.open.delete(projectId);
  }

  get projects(): string[] {
    return [...this.open.keys()];
  }

  async untilLive(): Promise<void> {
    const statuses = (): string[] =>
      [undefined, ...this.projects].map((projectId) => this.connection.status(projectId));
    await eventually(() => statuses().every((status) => status === 'live'), statuses);
  }

  /** Puts queries on the screen. */
  show(...queryKeys: QueryKey[]): void {
    for (const queryKey of queryKeys) {
      const name = nameOf(queryKey);
      if (this.shown.has(name)) continue;
      const { onShown = () => undefined } = this.options;
      const observer = new QueryObserver(this.client, { queryKey });
      const stop = observer.subscribe(({ data }) => {
        onShown(queryKey, data);
      });
      this.shown.set(name, stop);
      onShown(queryKey, observer.getCurrentResult().data);
    }
  }

  /** Takes queries off the screen; they stay in the cache. */
  hide(...queryKeys: QueryKey[]): void {
    for (const queryKey of queryKeys) {
      this.shown.get(nameOf(queryKey))?.();
      this.shown.delete(nameOf(queryKey));
    }
  }

  async settled(): Promise<void> {
    await eventually(
      () => this.client.isFetching() === 0,
      () => this.client.isFetching(),
    );
  }

  /** What was committed before has been heard of, and what that asked for has been done. */
  async caughtUp(...projectIds: readonly string[]): Promise<void> {
    await Promise.all(projectIds.map((projectId) => this.untilMarker(projectId)));
    await sleep(BATCH_MS);
    await this.settled();
  }

  private async untilMarker(projectId: string): Promise<void> {
    const ids: string[] = [];
    const isHeard = (): boolean => ids.some((id) => this.markers.has(id));
    const end = Date.now() + HANG_MS;
    // More than one: a marker may be lost in a reset that stands for it.
    while (!isHeard() && Date.now() < end) {
      const id = crypto.randomUUID();
      ids.push(id);
      await this.stack.notify('marker', projectId, id);
      const waitEnd = Date.now() + MARKER_MS;
      while (!isHeard() && Date.now() < waitEnd) await sleep(5);
    }
    expect(isHeard(), `marker of ${projectId}: ${JSON.stringify(this.events.at(-1))}`).toBe(true);
  }

  /** What was fetched since this was last asked, each once. */
  takeFetched(): string[] {
    const fetched = new Set(this.fetched);
    this.fetched = [];
    return [...fetched].sort();
  }

  /** The queries that are marked as stale. */
  stale(): string[] {
    return this.client
      .getQueryCache()
      .findAll({ stale: true })
      .map(({ queryKey }) => nameOf(queryKey))
      .sort();
  }

  /** Why it was told that everything of a project, or everything, may be stale. */
  resets(): string[] {
    return this.events.flatMap((event) => (event.type === 'stale' ? [event.reason] : []));
  }

  /** Its connection ends; its cache stays. */
  disconnect(): void {
    this.stopBinding();
    this.connection.close();
    this.open.clear();
  }

  close(): void {
    this.disconnect();
    this.clear();
  }

  /** Nothing is on the screen or in the cache. */
  clear(): void {
    this.hide(
      ...this.client
        .getQueryCache()
        .getAll()
        .map(({ queryKey }) => queryKey),
    );
    this.client.clear();
  }

  /** What the app's API answers. */
  async read(queryKey: QueryKey): Promise<unknown> {
    const { label } = this.options;
    const answer = await this.stack.read(queryKey, this.user);
    return label ? label(answer) : answer;
  }

  private async fetch(queryKey: QueryKey): Promise<unknown> {
    this.fetched.push(nameOf(queryKey));
    const answer = await this.read(queryKey);
    const { latencyMs = 0 } = this.options;
    if (latencyMs > 0) await sleep(Math.random() * latencyMs);
    return answer;
  }
}

export function nameOf(queryKey: QueryKey): string {
  return queryKey.join('/');
}

export function names(...queryKeys: QueryKey[]): string[] {
  return queryKeys.map(nameOf).sort();
}
