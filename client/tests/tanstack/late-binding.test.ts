import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { connectQueryClient, readCursors } from '../../src/tanstack/index.js';
import { subscribed } from '../core/script.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const A = 'a0000000-0000-4000-8000-000000000001';
const B = 'b0000000-0000-4000-8000-000000000002';
const OF_A = ['tasks', 'list', A];
const OF_B = ['tasks', 'list', B];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

async function ofTwo(): Promise<Board> {
  const board = await Board.open({}, A);
  board.connection.open(B);
  await pass();
  board.socket.frame(subscribed(B));
  for (const key of [OF_A, OF_B]) await board.shown(key);
  await pass(10);
  return board;
}

describe('a query client that is bound again', () => {
  it('keeps everything if nothing happened meanwhile', async () => {
    const board = await ofTwo();
    board.disconnect();
    await pass(60_000);
    board.bind();
    await pass(10);
    expect(board.asked).toEqual([]);
    expect([board.isStale(OF_A), board.isStale(OF_B)]).toEqual([false, false]);
  });

  it('catches up with the projects that changed meanwhile, and only these', async () => {
    const board = await ofTwo();
    board.disconnect();
    board.socket.change(B, 7);
    await pass(10);
    board.bind();
    await pass(10);
    expect(board.asked).toEqual([`tasks/list/${B}`]);
    expect(board.isStale(OF_A)).toBe(false);
    expect(readCursors(board.client)[`project:${B}`]).toBe(`project:${B}@1`);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(readCursors(board.client)[`project:${B}`]).toBe(`project:${B}@7`);
  });

  it("catches up with everything after a change of the user's own lists", async () => {
    const board = await ofTwo();
    board.disconnect();
    const channel = { channel: 'user:U', cursor: 'user:U@9', project_id: null };
    const data = { id: 'N', timestamp: '' };
    const change = { type: 'cache_invalidate', resource: 'note', action: 'INSERT', data };
    board.socket.frame({ ...change, ...channel });
    board.bind();
    await pass(10);
    expect(board.asked).toEqual([`tasks/list/${A}`, `tasks/list/${B}`]);
  });

  it('catches up where an older prefetch completed meanwhile', async () => {
    const board = await Board.open({}, A);
    void board.client.query({ queryKey: OF_A });
    await pass();
    board.socket.change(A, 7);
    await pass(1_000);
    board.disconnect();
    await board.answer('old');
    board.bind();
    expect(board.isStale(OF_A)).toBe(true);
  });

  it('catches up with what it received and did not refetch', async () => {
    const board = await ofTwo();
    board.socket.change(B, 7);
    board.disconnect();
    board.bind();
    await pass(10);
    expect(board.asked).toEqual([`tasks/list/${B}`]);
  });
});

describe('a query client that is bound late', () => {
  it('has nothing that is proved to be fresh', async () => {
    const board = Board.unconnected();
    await board.shown(OF_A);
    await board.connect({}, A);
    board.disconnect();
    board.socket.connected([A]);
    board.bind();
    await pass(10);
    expect(board.asked).toEqual([`tasks/list/${A}`]);
    expect(readCursors(board.client)).toEqual({});
    await board.answer('new');
    await pass(10);
    expect(readCursors(board.client)).toEqual(board.connection.cursors());
    expect(board.isStale(OF_A)).toBe(false);
  });

  it('is a second one beside the first, which stays as it is', async () => {
    const board = await ofTwo();
    const second = Board.unconnected();
    await second.shown(OF_A);
    const disconnect = connectQueryClient(board.connection, second.client);
    await pass(10);
    expect(second.asked).toEqual([`tasks/list/${A}`]);
    await second.answer('new');
    board.socket.change(A, 7);
    await pass(10);
    expect(second.asked).toEqual([`tasks/list/${A}`]);
    expect(board.asked).toEqual([`tasks/list/${A}`]);
    disconnect();
  });

  it('fetches again what was in flight', async () => {
    const board = await ofTwo();
    const second = Board.unconnected();
    second.show(OF_A);
    connectQueryClient(board.connection, second.client);
    await second.answer('old');
    await pass(10);
    expect(second.asked).toEqual([`tasks/list/${A}`]);
  });
});

describe('a switch from one project to another', () => {
  it('leaves the cache of the first as fresh as it was', async () => {
    const board = await Board.open({}, A);
    await board.cached(OF_A);
    await pass(120_000);
    board.connection.open(B);
    await pass();
    board.socket.frame(subscribed(B, { resumed: false }));
    await pass(10);
    expect(board.isStale(OF_A)).toBe(false);
  });

  it('also where the first is known only by its cursor', async () => {
    const board = await Board.open({}, A);
    await board.cached(OF_A);
    board.disconnect();
    board.connection.close();
    await pass(120_000);
    await board.connect({}, B);
    board.socket.connected([B], { resumed: ['user:U'] });
    await pass(10);
    expect(board.isStale(OF_A)).toBe(false);
  });
});
