import {
  QueryClient,
  QueryObserver,
  type QueryKey,
  type QueryObserverOptions,
} from '@tanstack/query-core';

import { createConnection, type Connection } from '../../src/index.js';
import {
  connectQueryClient,
  readCursors,
  type ConnectQueryClientOptions,
} from '../../src/tanstack/index.js';
import { optionsIn, pass, World, type FakeSocket } from '../world.js';

interface Request {
  readonly key: QueryKey;
  readonly answer: (data: unknown) => void;
  readonly fail: () => void;
}

/** An app with a query cache whose requests the test answers, live on project P. */
export class Board {
  readonly world = new World();
  readonly client: QueryClient;
  readonly requests: Request[] = [];
  connection!: Connection;
  disconnect!: () => void;

  private constructor() {
    this.client = new QueryClient({
      defaultOptions: {
        queries: {
          staleTime: Infinity,
          gcTime: Infinity,
          retry: false,
          queryFn: ({ queryKey }) =>
            new Promise((answer, reject) => {
              this.requests.push({
                key: queryKey,
                answer,
                fail: () => {
                  reject(new Error('no'));
                },
              });
            }),
        },
      },
    });
  }

  static async open(options: ConnectQueryClientOptions = {}): Promise<Board> {
    const board = new Board();
    await board.connect(options);
    board.socket.connected(['P'], { resumed: ['project:P', 'user:U'] });
    await pass(1_000);
    return board;
  }

  /** A board that has not connected. */
  static unconnected(): Board {
    return new Board();
  }

  async connect(options: ConnectQueryClientOptions = {}): Promise<void> {
    const cursors = readCursors(this.client);
    this.connection = createConnection(optionsIn(this.world, { projectId: 'P', cursors }));
    this.disconnect = connectQueryClient(this.connection, this.client, options);
    await pass();
  }

  get socket(): FakeSocket {
    return this.world.socket;
  }

  /** Puts a query on the screen; gives what takes it off. */
  show(queryKey: QueryKey, options: Partial<QueryObserverOptions> = {}): () => void {
    return new QueryObserver(this.client, { queryKey, ...options }).subscribe(() => undefined);
  }

  /** A query on the screen, fetched. */
  async shown(
    queryKey: QueryKey,
    options: Partial<QueryObserverOptions> = {},
  ): Promise<() => void> {
    const hide = this.show(queryKey, options);
    await this.answer('first');
    return hide;
  }

  /** A query that was fetched and is not on the screen. */
  async cached(queryKey: QueryKey): Promise<void> {
    void this.client.query({ queryKey });
    await this.answer('first');
  }

  /** Answers the oldest request that is open; gives what was asked for. */
  async answer(data: unknown): Promise<QueryKey | undefined> {
    const request = this.requests.shift();
    request?.answer(data);
    await pass();
    return request?.key;
  }

  async fail(): Promise<void> {
    this.requests.shift()?.fail();
    await pass();
  }

  /** A change of a task of P is heard, and what follows at once has happened. */
  async change(place = 7, resource = 'task', id = 'T', action = 'UPDATE'): Promise<void> {
    this.socket.change('P', place, resource, id, action);
    await pass(10);
  }

  /** The requests that are open, each by its key. */
  get asked(): string[] {
    return this.requests.map(({ key }) => key.join('/'));
  }

  data(queryKey: QueryKey): unknown {
    return this.client.getQueryData(queryKey);
  }

  isStale(queryKey: QueryKey): boolean | undefined {
    return this.client.getQueryCache().find({ queryKey })?.isStaleByTime(Infinity);
  }
}
