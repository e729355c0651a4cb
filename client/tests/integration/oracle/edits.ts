import { setTimeout as sleep } from 'node:timers/promises';

import type { Page } from '../page.js';
import type { Screen, Edit, Mark, Row } from './screen.js';
import type { World } from './visitor.js';

/** Of the API, after it has read: what it answers may be stale on arrival. */
export const LATENCY_MS = 400;
const INTENDED = 'fails as it should';

export interface EditOptions {
  readonly isOptimistic?: boolean;
  /** After so many milliseconds; 0: before it is committed; undefined: it succeeds. */
  readonly failsAt?: number | undefined;
}

let edits = 0;

/** Whether a mutation failed because it was to fail. */
export function isIntended(error: unknown): boolean {
  return String(error).includes(INTENDED);
}

/**
 * A mutation of a task's title, perhaps optimistic; the response comes late, and may be written to
 * the cache. It may fail, before or after it is committed.
 */
export async function startEdit(
  { chance, count, stack }: World,
  page: Page,
  screen: Screen,
  id: string,
  { isOver, ...options }: EditOptions & { readonly isOver: () => boolean },
): Promise<void> {
  const { client } = page;
  const { isOptimistic = chance.is(0.6) } = options;
  const failsAt =
    'failsAt' in options ? options.failsAt : chance.pick([0, LATENCY_MS, undefined, undefined]);
  const queryKey = ['tasks', 'detail', id];
  const number = (edits += 1);
  count('edits');
  const writesResponse = chance.is(0.5);
  const edit: Edit = { isPending: true, version: undefined };
  const fail = (): void => {
    throw new Error(INTENDED);
  };
  screen.edits.set(number, edit);
  const mutation = client.getMutationCache().build(client, {
    mutationFn: async () => {
      if (failsAt === 0) fail();
      const rows = await stack.sql(
        'update tasks set title = $2 where id = $1 returning version',
        id,
        `mine ${number}`,
      );
      const response = (await page.read(queryKey)) as Row[];
      await sleep(chance.random() * 2 * LATENCY_MS);
      if (failsAt !== undefined) fail();
      return { response, version: (rows as { version: number }[])[0]?.version };
    },
    onMutate: () => {
      const previous = client
        .getQueriesData<Row[]>({ queryKey: ['tasks'] })
        .filter(([, rows]) => rows?.some((row) => row.id === id));
      const mark: Mark = { is: 'optimistic', edit: number };
      for (const [key, rows] of isOptimistic && !isOver() ? previous : []) {
        const change = (row: Row): Row => (row.id === id ? { ...row, title: '?', mark } : row);
        client.setQueryData(key, rows?.map(change));
      }
      return previous;
    },
    onSuccess: ({ response, version }) => {
      edit.isPending = false;
      edit.version = version;
      if (!writesResponse || isOver()) return;
      // Responses may overtake each other, and only the app knows which is newer.
      if (response.some((row) => !screen.isNewest(queryKey, row))) return;
      const mark: Mark = { is: 'response' };
      client.setQueryData(
        queryKey,
        response.map((row) => ({ ...row, mark })),
      );
    },
    onError: (_error, _variables, previous) => {
      edit.isPending = false;
      const mark: Mark = { is: 'rolled back' };
      for (const [key, rows] of isOptimistic && !isOver() ? (previous ?? []) : []) {
        client.setQueryData(
          key,
          rows?.map((row) => ({ ...row, mark })),
        );
      }
    },
  });
  await mutation.execute(undefined);
}
