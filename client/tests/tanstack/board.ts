import {
  MutationObserver,
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
  token: string | null = 'T';
  connection!: Connection;
  disconnect!: () => void;

  private constructor() {
    this.client = new QueryClient({
      defaultOptions: {
        queries: {
          staleTime: Infinity,
          gcTime: Infinity,
          refetchOnWindowFocus: false,
          refetchOnReconnect: false,
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

  static async open(options: ConnectQueryClientOptions = {}, projectId = 'P'): Promise<Board> {
    const board = new Board();
    await board.connect(options, projectId);
    board.goLive(projectId);
    await pass(1_000);
    return board;
  }

  /** A board that has not connected. */
  static unconnected(): Board {
    return new Board();
  }

  async connect(options: ConnectQueryClientOptions = {}, projectId = 'P'): Promise<void> {
    const cursors = readCursors(this.client);
    const getToken = (): string | null => this.token;
    this.connection = createConnection(optionsIn(this.world, { projectId, cursors, getToken }));
    this.bind(options);
    await pass();
  }

  /** Binds the query client to the connection as it is. */
  bind(options: ConnectQueryClientOptions = {}): void {
    this.disconnect = connectQueryClient(this.connection, this.client, options);
  }

  /** The gateway resumes everything; no test has to answer pings. */
  goLive(projectId = 'P'): void {
    this.socket.connected([projectId], { heartbeat: 86_400 });
  }

  /** The page can be seen again, and its socket still answers. */
  async wake(): Promise<void> {
    this.world.isOnScreen = true;
    this.world.signal('visible');
    this.socket.frame({ type: 'pong' });
    await pass(10);
  }

  /** The gateway says whether it misses changes. */
  setLive(live: boolean): void {
    this.socket.frame({ type: 'status', live });
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

  /** Runs a mutation of the app that succeeds, or fails. */
  async mutate(mutationFn: () => Promise<unknown> = () => Promise.resolve('ok')): Promise<void> {
    const mutation = new MutationObserver<unknown>(this.client, { mutationFn, retry: false });
    await mutation.mutate().catch(() => undefined);
    await pass(10);
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
