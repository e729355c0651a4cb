import { QueryClient, QueryObserver } from '@tanstack/query-core';

import { createConnection } from '../src/index.js';
import {
  neverstaleDefaults,
  persistQueryClient,
  type Persistence,
  type PersistOptions,
} from '../src/persist/index.js';
import { connectQueryClient, readCursors } from '../src/tanstack/index.js';
import { optionsIn, pass, World, type FakeSocket } from './world.js';

export const TASK = ['tasks', 'detail', 'T'];
export const LIST = ['tasks', 'list', 'P'];

export type Storage = Exclude<PersistOptions['storage'], () => unknown>;

export function memoryStorage(): Storage & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

/** A page of an app: its memory goes when it is left, its storage stays. */
export class Page {
  readonly world = new World();
  readonly fetched: string[] = [];
  readonly client: QueryClient;
  /** What the app's API answers; undefined: nothing yet. */
  row: string | undefined = 'v1';
  private readonly leaves: (() => void)[] = [];

  private constructor(storage: PersistOptions['storage'], options: Partial<PersistOptions>) {
    this.client = new QueryClient({
      defaultOptions: {
        queries: {
          ...neverstaleDefaults.queries,
          queryFn: ({ queryKey }) => {
            this.fetched.push(queryKey.join('/'));
            return this.row ?? new Promise(() => undefined);
          },
        },
      },
    });
    const how = { queryClient: this.client, storage, userId: 'U', schemaVersion: 1, ...options };
    this.persistence = persistQueryClient(how);
    this.leaves.push(this.persistence.stop);
  }

  readonly persistence: Persistence;

  static async load(
    storage: PersistOptions['storage'],
    options: Partial<PersistOptions> = {},
  ): Promise<Page> {
    const page = new Page(storage, options);
    await pass(10);
    await page.persistence.restored;
    const cursors = readCursors(page.client);
    const connection = createConnection(optionsIn(page.world, { projectId: 'P', cursors }));
    page.leaves.push(connectQueryClient(connection, page.client), () => {
      connection.close();
    });
    await pass();
    return page;
  }

  show(...keys: string[][]): void {
    for (const queryKey of keys) {
      this.leaves.push(new QueryObserver(this.client, { queryKey }).subscribe(() => undefined));
    }
  }

  get socket(): FakeSocket {
    return this.world.socket;
  }

  get since(): string[] {
    return this.socket.url.searchParams.getAll('since');
  }

  leave(): void {
    for (const leave of this.leaves.reverse()) leave();
    this.client.clear();
  }
}

/** A page that has shown a task and its list, and was saved. */
export async function visit(storage: PersistOptions['storage']): Promise<Page> {
  const page = await Page.load(storage);
  page.socket.connected(['P']);
  page.show(TASK, LIST);
  await pass(2_000);
  return page;
}
