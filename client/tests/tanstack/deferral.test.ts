import { dehydrate, hydrate, onlineManager } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { readCursors } from '../../src/tanstack/index.js';
import { pass } from '../world.js';
import { Board } from './board.js';
import { edit, LIST, requests, start, TASK, watch } from './edits.js';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  onlineManager.setOnline(true);
  vi.useRealTimers();
});

describe('refetches do not wait', () => {
  const always = { networkMode: 'always' } as const;

  it('for a mutation that is paused, but do once it runs', async () => {
    const board = await Board.open();
    const values = await watch(board, TASK, always);
    onlineManager.setOnline(false);
    const mine = edit(board, 'mine');
    await board.change(7);
    expect(await requests(board, 'theirs')).toEqual(['tasks/detail/T']);
    onlineManager.setOnline(true);
    void board.client.resumePausedMutations();
    await pass();
    await board.change(8);
    expect(board.asked).toEqual([]);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'theirs', 'saved']);
  });

  it('for a paused mutation that was restored, but do once it runs', async () => {
    const board = Board.unconnected();
    const other = Board.unconnected();
    onlineManager.setOnline(false);
    edit(other, 'mine');
    await pass();
    onlineManager.setOnline(true);
    let respond: (response: string) => void = () => undefined;
    board.client.setDefaultOptions({
      ...board.client.getDefaultOptions(),
      mutations: { mutationFn: () => new Promise((resolve) => (respond = resolve)) },
    });
    hydrate(board.client, structuredClone(dehydrate(other.client)));
    expect(board.client.isMutating()).toBe(1);
    await board.connect();
    board.goLive();
    await watch(board);
    await board.change(7);
    expect(await requests(board, 'theirs')).toEqual(['tasks/detail/T']);
    void board.client.resumePausedMutations();
    await board.change(8);
    expect(board.asked).toEqual([]);
    respond('');
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
  });

  it('for a mutation that does not end, after 5 s', async () => {
    const board = await Board.open();
    await watch(board);
    edit(board, 'mine');
    await board.change(7);
    await pass(4_980);
    expect(board.asked).toEqual([]);
    await pass(20);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('theirs');
    await board.change(8);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('for a mutation that is retried without end, after 5 s', async () => {
    const board = await Board.open();
    await watch(board);
    const mine = edit(board, 'mine', { retry: true, retryDelay: 1_000 });
    for (let second = 0; second < 6; second += 1) {
      await mine.fail();
      await pass(1_000);
    }
    await board.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('longer than 5 s for mutations that overlap without end', async () => {
    const board = await Board.open();
    await watch(board);
    let current = edit(board, 'mine');
    await board.change();
    for (let second = 0; second < 5; second += 1) {
      expect(board.asked).toEqual([]);
      await pass(1_000);
      const next = edit(board, 'mine');
      await pass();
      await current.respond();
      current = next;
    }
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('for what mayAffect says no to', async () => {
    const board = await Board.open({
      mayAffect: ({ mutationKey, meta, variables }, queryKey) =>
        mutationKey?.[0] !== 'upload' ||
        meta?.of !== 'task' ||
        variables !== undefined ||
        queryKey[1] === 'list',
    });
    await watch(board);
    await watch(board, LIST);
    const upload = start(board, { mutationKey: ['upload'], meta: { of: 'task' } });
    await board.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('new');
    await upload.respond();
    await pass(10);
    expect(board.asked).toEqual(['tasks/list/P']);
  });

  it('but do if mayAffect fails', async () => {
    const board = await Board.open({
      mayAffect: () => {
        throw new Error('bug');
      },
    });
    await watch(board);
    const mine = edit(board, 'mine');
    await board.change();
    expect(board.asked).toEqual([]);
    expect(board.world.warnings).toEqual(['mayAffect failed: Error: bug']);
    await mine.respond();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
  });

  it('with maxDeferMs: 0', async () => {
    const board = await Board.open({ maxDeferMs: 0 });
    await watch(board);
    edit(board, 'mine');
    await board.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
  });
});

describe('while refetches wait', () => {
  it('the cursors wait, too, also for queries that nothing uses', async () => {
    const board = await Board.open();
    const hide = await board.shown(TASK);
    hide();
    const mine = edit(board, 'mine');
    await board.change();
    expect(board.isStale(TASK)).toBe(false);
    expect(readCursors(board.client)['project:P']).toBe('project:P@1');
    await mine.respond();
    await pass(10);
    expect(board.isStale(TASK)).toBe(true);
    expect(readCursors(board.client)['project:P']).toBe('project:P@7');
  });

  it('and the query client is disconnected: they follow with the next connection', async () => {
    const board = await Board.open();
    const values = await watch(board);
    const mine = edit(board, 'mine');
    await board.change();
    board.disconnect();
    expect(board.isStale(TASK)).toBe(true);
    await mine.respond();
    await pass(60_000);
    expect(board.asked).toEqual([]);
    await board.connect();
    board.goLive();
    expect(await requests(board, 'saved')).toEqual(['tasks/detail/T']);
    expect(values).toEqual(['first', 'mine', 'saved']);
  });
});
