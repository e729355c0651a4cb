/** What tests of mutations share: what a query showed, edits, and the requests that follow. */
import {
  MutationObserver,
  QueryObserver,
  type MutationObserverOptions,
  type QueryKey,
  type QueryObserverOptions,
} from '@tanstack/query-core';

import { pass } from '../world.js';
import type { Board } from './board.js';

export const TASK = ['tasks', 'detail', 'T'];
export const LIST = ['tasks', 'list', 'P'];

/** A query on the screen, and every value that it showed, in order. */
export async function watch(
  board: Board,
  queryKey: QueryKey = TASK,
  options: Partial<QueryObserverOptions> = {},
): Promise<unknown[]> {
  const values: unknown[] = [];
  new QueryObserver(board.client, { queryKey, ...options }).subscribe(({ data }) => {
    if (data !== values.at(-1)) values.push(data);
  });
  await board.answer('first');
  return values;
}

export interface Edit {
  respond: (response?: string) => Promise<void>;
  fail: () => Promise<void>;
}

export type Options = MutationObserverOptions<string>;

/** An optimistic edit of the task as in TanStack's guide: rolled back if it fails. */
export function edit(board: Board, value: string, options: Partial<Options> = {}): Edit {
  return start(board, {
    onMutate: () => {
      const previous = board.data(TASK);
      board.client.setQueryData(TASK, value);
      return previous;
    },
    onError: (_error, _variables, previous) => {
      board.client.setQueryData(TASK, previous);
    },
    ...options,
  });
}

export function start(board: Board, options: Partial<Options> = {}): Edit {
  let resolve: (response: string) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const mutation = new MutationObserver<string, Error, void>(board.client, {
    mutationFn: () => new Promise((...outcomes) => ([resolve, reject] = outcomes)),
    ...options,
  });
  mutation.mutate().catch(() => undefined);
  return {
    respond: async (response = '') => {
      await pass();
      resolve(response);
      await pass(1);
    },
    fail: async () => {
      await pass();
      reject(new Error('no'));
      await pass(1);
    },
  };
}

/** Writes the response, as in "updates from mutation responses" of TanStack's guide. */
export function writing(board: Board): Partial<Options> {
  return {
    onSuccess: (response) => {
      board.client.setQueryData(TASK, response);
    },
  };
}

/** The requests of the next 10 s, each answered by what the server has. */
export async function requests(board: Board, server: string): Promise<string[]> {
  const keys: string[] = [];
  for (let step = 0; step < 10; step += 1) {
    await pass(step === 0 ? 10 : 1_000);
    for (const key of board.asked) {
      keys.push(key);
      await board.answer(server);
    }
  }
  return keys;
}
