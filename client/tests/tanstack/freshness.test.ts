import {
  InfiniteQueryObserver,
  MutationObserver,
  hydrate,
  type InfiniteData,
} from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { pass } from '../world.js';
import { Board } from './board.js';

const TASK = ['tasks', 'detail', 'T'];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('an event during a fetch', () => {
  it('the first one: what it brings is fetched anew', async () => {
    const board = await Board.open();
    board.show(TASK);
    await board.change();
    await board.answer('old');
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(board.data(TASK)).toBe('new');
    expect(board.isStale(TASK)).toBe(false);
  });

  it('a refetch whose observer has left: the next observer fetches', async () => {
    const board = await Board.open();
    const hide = await board.shown(TASK);
    void board.client.refetchQueries({ queryKey: TASK });
    hide();
    await board.change();
    await board.answer('old');
    expect(board.isStale(TASK)).toBe(true);
    board.show(TASK);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('a prefetch: the first observer fetches', async () => {
    const board = await Board.open();
    void board.client.query({ queryKey: TASK });
    await board.change();
    await board.answer('old');
    expect(board.isStale(TASK)).toBe(true);
    await pass(100);
    board.show(TASK, { refetchOnMount: false });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('that is cancelled and reverted: it stays stale', async () => {
    const board = await Board.open();
    const queryFn = ({ signal }: { signal: AbortSignal }): Promise<string> =>
      new Promise((_, reject) => {
        signal.onabort = reject;
      });
    await board.shown(TASK);
    void board.client.query({ queryKey: TASK, queryFn, staleTime: 0 });
    await pass();
    await board.change();
    await board.client.cancelQueries({ queryKey: TASK });
    expect(board.isStale(TASK)).toBe(true);
  });

  it('that was in flight before the query client was connected', async () => {
    const board = Board.unconnected();
    board.show(TASK);
    await board.connect();
    board.socket.connected(['P']);
    await board.change();
    await board.answer('old');
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('that goes on while the query client is connected anew', async () => {
    const board = await Board.open();
    board.show(TASK);
    await board.change();
    board.disconnect();
    await board.connect();
    await board.answer('old');
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('one that began after the event is enough', async () => {
    const board = await Board.open();
    await board.cached(TASK);
    await board.change();
    board.show(TASK);
    await pass(10);
    expect(board.asked).toHaveLength(1);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('a slow one is let finish, however many events come', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    for (let place = 10; place < 20; place++) await board.change(place);
    expect(board.asked).toHaveLength(1);
    await board.answer('in between');
    expect(board.data(TASK)).toBe('in between');
    await pass(10);
    expect(board.asked).toHaveLength(1);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('one more page leaves the other pages stale', async () => {
    const board = await Board.open();
    const observer = new InfiniteQueryObserver<number, Error, InfiniteData<number>>(board.client, {
      queryKey: TASK,
      initialPageParam: 0,
      getNextPageParam: (last) => last + 1,
    });
    observer.subscribe(() => undefined);
    await board.answer(0);
    board.socket.change('P', 7);
    void observer.fetchNextPage();
    await pass();
    await board.answer(1);
    expect(board.isStale(TASK)).toBe(true);
    await pass(10);
    await board.answer(0);
    await board.answer(1);
    expect(board.isStale(TASK)).toBe(false);
    expect(observer.getCurrentResult().data?.pages).toEqual([0, 1]);
  });
});

describe('an older response written by setQueryData', () => {
  interface Mutation {
    respond: () => Promise<void>;
  }

  function mutate(board: Board, write: 'onSuccess' | 'then'): Mutation {
    let answer: (data: string) => void = () => undefined;
    const save = (data: string): void => {
      board.client.setQueryData(TASK, data);
    };
    const mutation = new MutationObserver<string>(board.client, {
      mutationFn: () => new Promise((resolve) => (answer = resolve)),
      ...(write === 'onSuccess' && { onSuccess: save }),
    });
    const done = mutation.mutate();
    if (write === 'then') void done.then(save);
    return {
      respond: async () => {
        answer('older');
        await pass(10);
      },
    };
  }

  it.each(['onSuccess', 'then'] as const)('in %s is fetched anew', async (write) => {
    const board = await Board.open({ maxDeferMs: 0 });
    await board.shown(TASK);
    const mutation = mutate(board, write);
    await pass();
    await board.change();
    await board.answer('newer');
    expect(board.isStale(TASK)).toBe(false);
    await mutation.respond();
    expect(board.data(TASK)).toBe('older');
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('newer');
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('to a query that was not there at the event is stale', async () => {
    const board = await Board.open();
    const mutation = mutate(board, 'onSuccess');
    await pass();
    await board.change();
    await mutation.respond();
    expect(board.isStale(TASK)).toBe(true);
  });

  it('is stale after more events than are remembered, too', async () => {
    const board = await Board.open();
    const mutation = mutate(board, 'onSuccess');
    await pass();
    await board.change();
    for (let place = 0; place < 600; place++) board.socket.change('P', place, 'task', 'other');
    await mutation.respond();
    expect(board.isStale(TASK)).toBe(true);
    const heard = vi.fn();
    board.client.getQueryCache().subscribe(heard);
    await pass(20);
    heard.mockClear();
    await pass(5_000);
    expect(heard).not.toHaveBeenCalled();
  });

  it('is fresh if the mutation began after the event', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.change();
    await board.answer('newer');
    await pass(2_000);
    const mutation = mutate(board, 'onSuccess');
    await pass();
    await mutation.respond();
    expect(board.isStale(TASK)).toBe(false);
  });

  it('of a mutation that was in flight before the query client was connected', async () => {
    const board = Board.unconnected();
    const mutation = mutate(board, 'onSuccess');
    await board.connect();
    board.socket.connected(['P']);
    await board.change();
    await mutation.respond();
    expect(board.isStale(TASK)).toBe(true);
  });

  it('of a mutation that outlives the connection whose events it is older than', async () => {
    const board = await Board.open({ maxDeferMs: 0 });
    await board.shown(TASK);
    const mutation = mutate(board, 'onSuccess');
    await pass();
    await board.change();
    await board.answer('newer');
    board.disconnect();
    await board.connect();
    await mutation.respond();
    expect(board.data(TASK)).toBe('older');
    expect(board.isStale(TASK)).toBe(true);
  });

  it('over stale data does not make it fresh', async () => {
    const board = await Board.open();
    await board.cached(TASK);
    await pass(2_000);
    await board.change();
    board.client.setQueryData(TASK, (old: unknown) => `${String(old)}, patched`);
    expect(board.isStale(TASK)).toBe(true);
  });

  it('while it is being refetched costs no second refetch', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.change();
    board.client.setQueryData(TASK, 'optimistic');
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });
});

describe('data that was not fetched here', () => {
  const restored = (board: Board, dataUpdatedAt: number): void => {
    hydrate(board.client, {
      queries: [
        {
          queryKey: TASK,
          queryHash: JSON.stringify(TASK),
          dehydratedAt: dataUpdatedAt,
          state: {
            ...(board.client.getQueryCache().build(board.client, { queryKey: ['x'] })
              .state as object),
            data: 'restored',
            dataUpdatedAt,
            status: 'success',
          } as never,
        },
      ],
    });
  };

  it('and came after the connection is stale', async () => {
    const board = await Board.open();
    restored(board, Date.now() - 1_000);
    expect(board.isStale(TASK)).toBe(true);
    board.show(TASK);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('and replaces older data after the connection is stale', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await pass(5_000);
    restored(board, Date.now() - 1_000);
    expect(board.data(TASK)).toBe('restored');
    expect(board.isStale(TASK)).toBe(true);
  });
});

describe('a fetch that fails', () => {
  it('leaves the view stale, and is retried with back-off until it succeeds', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.change();
    for (const delay of [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
      await board.fail();
      await pass(delay - 1);
      expect(board.asked).toEqual([]);
      await pass(11);
      expect(board.asked).toEqual(['tasks/detail/T']);
    }
    await board.answer('new');
    expect(board.isStale(TASK)).toBe(false);
    await board.change();
    await board.fail();
    await pass(510);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('is left alone where the app says so, and where nobody looks', async () => {
    const board = await Board.open({ shouldRetry: (error) => String(error) !== 'Error: no' });
    const hide = await board.shown(TASK);
    await board.change();
    await board.fail();
    await pass(60_000);
    expect(board.asked).toEqual([]);
    hide();
    expect(board.isStale(TASK)).toBe(true);
  });

  it('is not retried once nobody looks', async () => {
    const board = await Board.open();
    const hide = await board.shown(TASK);
    await board.change();
    await board.fail();
    hide();
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('without an event is the app’s own affair', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    void board.client.refetchQueries({ queryKey: TASK });
    await board.fail();
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });
});
