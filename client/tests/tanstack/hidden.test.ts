import { dehydrate, hydrate } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { readCursors } from '../../src/tanstack/index.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const TASK = ['tasks', 'detail', 'T'];
const MEMBERS = ['projectMembers', 'P'];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

async function hidden(...args: Parameters<typeof Board.open>): Promise<Board> {
  const board = await Board.open(...args);
  await board.shown(TASK);
  await board.cached(MEMBERS);
  board.world.isOnScreen = false;
  for (let place = 7; place < 10; place++) await board.change(place);
  await board.change(10, 'project_members', 'P:U2');
  return board;
}

it('a hidden page collects what is stale and fetches it once when it is visible', async () => {
  const board = await hidden();
  await pass(3_600_000);
  expect(board.asked).toEqual([]);
  expect(board.isStale(TASK)).toBe(true);
  await board.wake();
  expect(board.asked.sort()).toEqual(['projectMembers/P', 'tasks/detail/T']);
  await board.answer('new');
  await board.answer('new');
  await pass(60_000);
  expect(board.asked).toEqual([]);
  expect(board.isStale(TASK)).toBe(false);
});

it('a failed refetch is repeated only when the page is visible', async () => {
  const board = await Board.open();
  await board.shown(TASK);
  await board.change();
  board.world.isOnScreen = false;
  await board.fail();
  await pass(600_000);
  expect(board.asked).toEqual([]);
  await board.wake();
  expect(board.asked).toEqual(['tasks/detail/T']);
});

it('refetchHidden fetches at once', async () => {
  const board = await hidden({ refetchHidden: true });
  expect(board.asked.sort()).toEqual(['projectMembers/P', 'tasks/detail/T']);
});

it('what is collected does not hold back the stored cursors, and is stale when restored', async () => {
  const board = await hidden();
  expect(readCursors(board.client)['project:P']).toBe('project:P@10');
  const saved = structuredClone(dehydrate(board.client));
  board.disconnect();
  board.connection.close();

  const next = Board.unconnected();
  hydrate(next.client, saved);
  next.show(TASK);
  await pass();
  expect(next.asked).toEqual(['tasks/detail/T']);
  await next.connect();
  expect(next.socket.url.searchParams.getAll('since')).toContain('project:P@10');
  expect(next.isStale(MEMBERS)).toBe(true);
});
