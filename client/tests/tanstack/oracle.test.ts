import {
  dehydrate,
  hydrate,
  MutationObserver,
  QueryClient,
  QueryObserver,
  type DehydratedState,
} from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { createConnection, type Connection } from '../../src/index.js';
import { connectQueryClient, readCursors } from '../../src/tanstack/index.js';
import { seeded } from '../seeded.js';
import { optionsIn, pass, World, type FakeSocket } from '../world.js';

const ROWS = [0, 1, 2];
const STEPS = 120;
const SEEDS = 250;

/** A database, its log of changes, and a gateway that resumes from it: all in memory. */
class Server {
  readonly versions = ROWS.map(() => 0);
  private readonly log: { row: number; at: number }[] = [];
  private readonly places = new Map<FakeSocket, { at: number; heard: number }>();

  write(row: number): number {
    this.log.push({ row, at: Date.now() });
    return (this.versions[row] = (this.versions[row] ?? 0) + 1);
  }

  /** Answers a socket, and sends it so many of the changes that it has not had. */
  serve(socket: FakeSocket, most: number): void {
    if (socket.isClosed) return;
    const place = this.places.get(socket) ?? this.connect(socket);
    for (const message of socket.sent.slice(place.heard)) {
      if ('type' in message && message.type === 'ping') socket.frame({ type: 'pong' });
    }
    place.heard = socket.sent.length;
    for (const { row } of this.log.slice(place.at, place.at + most)) {
      place.at += 1;
      socket.change('P', place.at, 'task', String(row));
    }
  }

  reset(socket: FakeSocket | undefined): void {
    if (!socket || socket.isClosed || !this.places.has(socket)) return;
    const at = this.log.length;
    this.places.set(socket, { at, heard: socket.sent.length });
    const cursors = { 'project:P': `project:P@${String(at)}`, 'user:U': 'user:U@1' };
    socket.frame({ type: 'reconnect', data: { reason: 'gap' }, spread_ms: 500, cursors });
  }

  private connect(socket: FakeSocket): { at: number; heard: number } {
    const since = socket.url.searchParams.getAll('since');
    const cursor = since.find((text) => text.startsWith('project:P@'));
    const oldest = Date.now() - Number(socket.url.searchParams.get('age'));
    const aged = this.log.findIndex((change) => change.at >= oldest);
    const at = cursor ? Number(cursor.split('@')[1]) : aged < 0 ? this.log.length : aged;
    const resumed = ['user:U', 'project:P'];
    const cursors = { 'project:P': `project:P@${String(at)}`, 'user:U': 'user:U@1' };
    const place = { at, heard: 0 };
    this.places.set(socket, place);
    socket.connected(['P'], { cursors, resumed });
    return place;
  }
}

/** A page under random use; what it does depends on the seed alone. */
class Page {
  private world = new World();
  private readonly server = new Server();
  private client = this.makeClient();
  private saved: DehydratedState | undefined;
  private readonly requests: { answer: () => void; fail: () => void }[] = [];
  private readonly responses: (() => void)[] = [];
  private readonly shown = new Map<number, () => void>();
  private connection!: Connection;
  private disconnect!: () => void;
  private isBound = false;

  constructor(private readonly random: () => number) {
    this.connect();
  }

  private makeClient(): QueryClient {
    return new QueryClient({
      defaultOptions: { queries: { staleTime: Infinity, gcTime: Infinity, retry: false } },
    });
  }

  private setVisible(isVisible: boolean): void {
    this.world.isOnScreen = isVisible;
    if (isVisible) this.world.signal('visible');
  }

  /** The connection goes on without the query client, or gets it back. */
  private unbindOrBind(): void {
    if (this.isBound) this.disconnect();
    else this.bind();
    this.isBound = !this.isBound;
  }

  private bind(): void {
    this.disconnect = connectQueryClient(this.connection, this.client);
  }

  private connect(): void {
    this.world.random = this.random;
    const cursors = readCursors(this.client);
    this.connection = createConnection(optionsIn(this.world, { projectId: 'P', cursors }));
    this.bind();
    this.isBound = true;
  }

  private query(row: number): { queryKey: unknown[]; queryFn: () => Promise<number> } {
    const queryFn = (context?: { signal: AbortSignal }): Promise<number> => {
      const read = this.server.versions[row] ?? 0;
      return new Promise((resolve, reject) => {
        if (this.random() < 0.3) context?.signal.addEventListener('abort', reject);
        this.requests.push({
          answer: () => {
            resolve(read);
          },
          fail: reject,
        });
      });
    };
    return { queryKey: ['tasks', 'detail', String(row)], queryFn };
  }

  /** Write a row, perhaps optimistically; it may fail, before or after it is committed. */
  private mutate(row: number): void {
    const { queryKey } = this.query(row);
    const isOptimistic = this.random() < 0.5;
    const isFailing = this.random() < 0.3;
    const isCommitted = !isFailing || this.random() < 0.5;
    const mutation = new MutationObserver<number | undefined, Error, void>(this.client, {
      mutationFn: () => {
        const written = isCommitted ? this.server.write(row) : undefined;
        return new Promise((resolve, reject) =>
          this.responses.push(() => {
            if (isFailing) reject(new Error('no'));
            else resolve(written);
          }),
        );
      },
      onMutate: () => {
        const previous = this.client.getQueryData(queryKey);
        if (isOptimistic) {
          this.client.setQueryData<number>(queryKey, (old) =>
            old === undefined ? old : old + 0.5,
          );
        }
        return previous;
      },
      onSuccess: (written) => {
        this.client.setQueryData(queryKey, written);
      },
      onError: (_error, _variables, previous) => {
        if (isOptimistic) this.client.setQueryData(queryKey, previous);
      },
    });
    mutation.mutate().catch(() => undefined);
  }

  private toggle(row: number): void {
    const hide = this.shown.get(row);
    if (hide) {
      hide();
      this.shown.delete(row);
    } else {
      const observer = new QueryObserver(this.client, this.query(row));
      this.shown.set(
        row,
        observer.subscribe(() => undefined),
      );
    }
  }

  private take<T>(from: T[]): T | undefined {
    return from.splice(Math.floor(this.random() * from.length), 1)[0];
  }

  private remount(): void {
    this.disconnect();
    this.connection.close();
    this.connect();
  }

  /** What a mutation in flight has written may never become true. */
  private save(): void {
    if (this.client.isMutating() > 0) return;
    this.saved = structuredClone(dehydrate(this.client));
  }

  /** Close the page with its in-flight fetches, and open one that starts from the saved cache. */
  private reload(): void {
    this.close();
    this.shown.clear();
    this.requests.length = this.responses.length = 0;
    this.client = this.makeClient();
    hydrate(this.client, this.saved ?? {});
    this.world = new World();
    this.connect();
  }

  step(): void {
    const row = Math.floor(this.random() * ROWS.length);
    const { queryKey } = this.query(row);
    const choices: [number, () => void][] = [
      [
        5,
        () => {
          this.server.write(row);
        },
      ],
      [
        6,
        () => {
          this.serve(1 + Math.floor(this.random() * 3));
        },
      ],
      [
        4,
        () => {
          this.toggle(row);
        },
      ],
      [
        2,
        () => {
          void this.client.query(this.query(row)).catch(() => undefined);
        },
      ],
      [
        8,
        () => {
          this.take(this.requests)?.answer();
        },
      ],
      [
        2,
        () => {
          this.take(this.requests)?.fail();
        },
      ],
      [
        3,
        () => {
          this.mutate(row);
        },
      ],
      [
        4,
        () => {
          this.take(this.responses)?.();
        },
      ],
      [
        1,
        () => {
          void this.client.cancelQueries({ queryKey });
        },
      ],
      [
        1,
        () => {
          this.client.setQueryData(queryKey, (old: unknown) => old);
        },
      ],
      [
        1,
        () => {
          this.world.sockets.at(-1)?.end(1006);
        },
      ],
      [
        1,
        () => {
          this.server.reset(this.world.sockets.at(-1));
        },
      ],
      [
        1,
        () => {
          this.setVisible(this.random() < 0.5);
        },
      ],
      [
        1,
        () => {
          this.unbindOrBind();
        },
      ],
      [
        0.5,
        () => {
          this.world.signal('focus');
        },
      ],
      [
        0.5,
        () => {
          this.remount();
        },
      ],
      [
        2,
        () => {
          this.save();
        },
      ],
      [
        0.5,
        () => {
          this.reload();
        },
      ],
    ];
    let rest = this.random() * choices.reduce((sum, [weight]) => sum + weight, 0);
    choices.find(([weight]) => (rest -= weight) < 0)?.[1]();
  }

  private serve(most: number): void {
    const socket = this.world.sockets.at(-1);
    if (socket) this.server.serve(socket, most);
  }

  /** Let every in-flight activity complete. */
  async settle(): Promise<void> {
    this.setVisible(true);
    if (!this.isBound) this.unbindOrBind();
    for (let round = 0; round < 100; round++) {
      this.serve(Infinity);
      for (const request of this.requests.splice(0)) request.answer();
      for (const respond of this.responses.splice(0)) respond();
      await pass(1_000);
    }
  }

  /** Rows that are shown, or would be shown, as something else than they are. */
  lies(): string[] {
    return ROWS.flatMap((row) => {
      const query = this.client.getQueryCache().find({ queryKey: this.query(row).queryKey });
      const isTrue = query?.state.data === this.server.versions[row];
      const isKnown = query?.state.isInvalidated === true && !query.isActive();
      const isNone =
        query?.state.data === undefined &&
        (query?.state.status === 'error' || !this.shown.has(row));
      const data = String(query?.state.data);
      return isTrue || isKnown || isNone ? [] : [`row ${String(row)} is ${data}`];
    });
  }

  close(): void {
    for (const hide of this.shown.values()) hide();
    this.disconnect();
    this.connection.close();
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

it('no random use of a page leaves anything stale', { timeout: 60_000 }, async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = seeded(seed);
    const page = new Page(random);
    for (let step = 0; step < STEPS; step++) {
      page.step();
      await pass(Math.floor(random() * 60));
    }
    await page.settle();
    expect(page.lies(), `seed ${String(seed)}`).toEqual([]);
    page.close();
  }
});
