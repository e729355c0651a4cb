import { onlineManager, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { pass } from '../world.js';
import { Board } from './board.js';
import { edit, LIST, requests, start, TASK, watch, writing, type Options } from './edits.js';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  onlineManager.setOnline(true);
  vi.useRealTimers();
});

describe('an optimistic value stays on the screen', () => {
  it('if the event overtakes the response: one refetch follows', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', writing(board));
    await board.change();
    await pass(1_000);
    expect(board.asked).toEqual([]);
    await mine.respond('saved');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('if the response overtakes the event: one refetch follows', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', writing(board));
    await pass(100);
    await mine.respond('saved');
    expect(await requests(board, 'saved')).toEqual([]);
    await board.change();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it.each(['event', 'response'])('and is not refetched for an echo (%s first)', async (first) => {
    const board = await Board.open({ isEcho: () => true });
    const values = await watch(board);
    const mine = edit(board, 'mine', writing(board));
    if (first === 'event') await board.change();
    await mine.respond('saved');
    if (first === 'response') await board.change();
    expect(await requests(board, 'never')).toEqual([]);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('if the response is not written: the refetch replaces it', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await board.change();
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it("if a teammate's change comes in the middle", async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', writing(board));
    await board.change(7);
    await pass(500);
    await board.change(8);
    await mine.respond('mine and theirs');
    expect(await requests(board, 'mine and theirs')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'mine and theirs']);
  });

  it.each([
    ['until the last of two overlapping mutations has settled', {}],
    ['while the next one of its scope waits for it, and then runs', { scope: { id: 'task' } }],
  ])('%s', async (_, options) => {
    const board = await Board.open();
    const values = await watch(board);
    const one = edit(board, 'one', options);
    await pass(100);
    const two = edit(board, 'one two', options);
    await board.change(7);
    await one.respond();
    await pass(1_000);
    expect(board.asked).toEqual([]);
    await board.change(8);
    await two.respond();
    expect(await requests(board, 'one two, saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'one', 'one two', 'one two, saved']);
  });

  it('while it is retried', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', { retry: 1, retryDelay: 1_000 });
    await board.change();
    await mine.fail();
    await pass(1_000);
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('if the query client is connected while the mutation is in flight', async () => {
    const board = Board.unconnected();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await board.connect();
    board.socket.connected(['P']);
    await board.change();
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('if another component begins to use the query', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await board.change();
    board.show(TASK);
    await pass(100);
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('while what no event keeps fresh is polled', async () => {
    const board = await Board.open({ pollMs: 1_000 });
    const values = await watch(board);
    board.socket.frame({ type: 'status', live: false });
    const mine = edit(board, 'mine');
    await pass(3_000);
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toContain('tasks/detail/T');
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('also where it is not in the cache but in the variables of the mutation', async () => {
    const board = await Board.open();
    await watch(board, LIST);
    const mine = start(board, {
      onSettled: () => board.client.invalidateQueries({ queryKey: LIST }),
    });
    await board.change();
    await pass(1_000);
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/list/P']);
  });
});

describe('a refetch that is in flight when the mutation begins', () => {
  const cancelling = (board: Board): Partial<Options> => ({
    onMutate: async () => {
      await board.client.cancelQueries({ queryKey: TASK });
      board.client.setQueryData(TASK, 'mine');
    },
  });

  it.each([
    ['is cancelled by the app', cancelling],
    ['is cancelled by the optimistic write', () => ({})],
  ])('%s, and follows at once when the mutation has settled', async (_, options) => {
    const board = await Board.open();
    const values = await watch(board);
    for (let place = 7; place < 10; place += 1) {
      await board.change(place);
      const mine = edit(board, 'mine', options(board));
      await pass();
      await board.answer('older');
      await pass(1_000);
      expect(board.asked).toEqual([]);
      await mine.respond();
      await pass(10);
      expect(board.asked).toEqual(['tasks/detail/T']);
    }
    await board.answer('saved');
    expect(await requests(board, 'never')).toEqual([]);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('is cancelled by the app without a write, and follows at once, too', async () => {
    const board = await Board.open();
    await watch(board, LIST);
    for (let place = 7; place < 12; place += 1) {
      await board.change(place);
      expect(board.asked).toEqual(['tasks/list/P']);
      const mine = start(board, {
        onMutate: () => board.client.cancelQueries({ queryKey: ['tasks'] }),
      });
      await pass();
      await board.answer('older');
      await mine.respond();
      await pass(10);
      expect(board.asked).toEqual(['tasks/list/P']);
    }
  });

  it("of the app's own is replaced by one afterwards, too", async () => {
    const board = await Board.open();
    const values = await watch(board);
    void board.client.refetchQueries({ queryKey: TASK });
    const mine = edit(board, 'mine', writing(board));
    await pass();
    await board.answer('older');
    await mine.respond('saved');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('does not replace a newer response', async () => {
    const board = await Board.open();
    const values: unknown[] = [];
    new QueryObserver(board.client, { queryKey: TASK }).subscribe(({ data }) => values.push(data));
    const mine = start(board, writing(board));
    await pass();
    await mine.respond('saved');
    await board.answer('older');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values.filter((data) => data === 'older')).toEqual([]);
    expect(board.data(TASK)).toBe('saved');
  });
});

describe("a refetch of TanStack Query's own that begins while a mutation is in flight", () => {
  it.each(['succeeds', 'fails'])('shows nothing older after the mutation %s', async (outcome) => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', { onError: () => undefined });
    await pass(100);
    // As the focus of the window or another component does while the connection is not live.
    void board.client.refetchQueries({ queryKey: TASK });
    await pass(100);
    await (outcome === 'succeeds' ? mine.respond() : mine.fail());
    await board.answer('older');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });

  it('counts if it is the one that the app makes when the response has come', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine', {
      onSettled: () => void board.client.invalidateQueries({ queryKey: TASK }),
    });
    await pass(100);
    await mine.respond();
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('saved');
    expect(await requests(board, 'never')).toEqual([]);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });
});

describe('a first load while a mutation is in flight', () => {
  it('does not replace the response that is written before it ends', async () => {
    const board = await Board.open();
    const values: unknown[] = [];
    const mine = start(board, writing(board));
    await pass(100);
    new QueryObserver(board.client, { queryKey: TASK }).subscribe(({ data }) => {
      if (data !== values.at(-1)) values.push(data);
    });
    await pass(100);
    await mine.respond('saved');
    await board.answer('older');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['saved']);
  });
});

describe('a mutation that fails', () => {
  it('is rolled back, and refetched once', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await pass(100);
    await mine.fail();
    expect(await requests(board, 'first')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'first']);
  });

  it("shows a teammate's change afterwards", async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await board.change();
    await mine.fail();
    expect(await requests(board, 'theirs')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'first', 'theirs']);
  });

  it('leaves nothing behind that another failed one had written', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const one = edit(board, 'one');
    await pass();
    const two = edit(board, 'one two');
    await pass();
    await one.fail();
    await two.fail();
    expect(board.data(TASK)).toBe('one');
    expect(await requests(board, 'first')).toEqual(['tasks/detail/T']);
    expect(values.at(-1)).toBe('first');
  });

  it('and was pending when the query client was connected: it may have written anything', async () => {
    const board = Board.unconnected();
    await watch(board);
    const mine = edit(board, 'mine', { onError: () => undefined });
    await board.connect();
    board.socket.connected(['P'], { resumed: ['project:P', 'user:U'] });
    await mine.fail();
    expect(await requests(board, 'first')).toEqual(['tasks/detail/T']);
    expect(board.data(TASK)).toBe('first');
  });

  it('long after it was started, too', async () => {
    const board = await Board.open();
    await watch(board);
    const mine = edit(board, 'mine', { onError: () => undefined });
    await pass(60_000);
    await mine.fail();
    expect(await requests(board, 'first')).toEqual(['tasks/detail/T']);
    expect(board.data(TASK)).toBe('first');
  });
});

describe('an app that invalidates by itself', () => {
  const invalidating = (board: Board, isAwaited: boolean): Partial<Options> => ({
    onSettled: () => {
      const refetched = board.client.invalidateQueries({ queryKey: TASK });
      return isAwaited ? refetched : undefined;
    },
  });

  it.each([
    ['and waits, after a success', true, 'respond'],
    ['and waits, after a failure', true, 'fail'],
    ['without waiting, after a success', false, 'respond'],
    ['without waiting, after a failure', false, 'fail'],
  ] as const)('%s: there is no second refetch', async (_, isAwaited, outcome) => {
    const board = await Board.open();
    await watch(board);
    const mine = edit(board, 'mine', invalidating(board, isAwaited));
    await board.change();
    await mine[outcome]();
    expect(await requests(board, 'new')).toEqual(['tasks/detail/T']);
    expect(board.data(TASK)).toBe('new');
  });
});
