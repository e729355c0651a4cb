import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { onUser, subscribed } from '../core/script.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const LOST = 'a0000000-0000-4000-8000-000000000001';
const KEPT = 'b0000000-0000-4000-8000-000000000002';
const LIST = ['tasks', 'list', LOST];
const BUNDLE = ['projects', 'bundle', LOST];
const OTHER_LIST = ['tasks', 'list', KEPT];
const PROJECTS = ['projects', 'list'];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** A board on two projects, one of which it has just lost. */
async function lost(...args: Parameters<typeof Board.open>): Promise<Board> {
  const board = await Board.open(args[0], LOST);
  board.connection.open(KEPT);
  await pass();
  board.socket.frame(subscribed(KEPT));
  for (const key of [LIST, OTHER_LIST, PROJECTS]) await board.shown(key);
  await board.cached(BUNDLE);
  revoke(board);
  await pass(10);
  return board;
}

function revoke(board: Board): void {
  board.socket.frame({ type: 'unsubscribed', project_id: LOST, reason: 'revoked' });
}

function invite(board: Board): void {
  board.socket.frame(onUser(LOST, 'project_members', 'INSERT', `${LOST}:U`));
}

describe('a project that is forbidden', () => {
  it('loses its data at once, in use or not, and the lists of projects are refetched', async () => {
    const board = await lost();
    expect(board.connection.status(LOST)).toBe('forbidden');
    expect([board.data(LIST), board.data(BUNDLE)]).toEqual([undefined, undefined]);
    expect(board.data(OTHER_LIST)).toBe('first');
    expect(board.asked).toEqual(['projects/list']);
  });

  it('never shows the response of a fetch that was in flight', async () => {
    const board = await Board.open({}, LOST);
    await board.shown(LIST);
    void board.client.refetchQueries({ queryKey: LIST });
    revoke(board);
    await board.answer('from before');
    await pass(60_000);
    expect(board.data(LIST)).toBeUndefined();
  });

  it.each([false, true])('is not refetched, polled or retried (data kept: %s)', async (keep) => {
    const board = await lost({ keepForbidden: keep });
    expect(board.data(LIST)).toBe(keep ? 'first' : undefined);
    await board.answer('new');
    board.world.signal('focus');
    board.socket.frame({ type: 'status', live: false });
    await board.mutate();
    await pass(120_000);
    expect(board.asked.filter((key) => key.includes(LOST))).toEqual([]);
    expect(board.asked).toContain(OTHER_LIST.join('/'));
    void board.client.refetchQueries({ queryKey: LIST });
    await pass();
    board.requests.pop()?.fail();
    await pass(120_000);
    expect(board.asked.filter((key) => key.includes(LOST))).toEqual([]);
  });

  it('leaves other failed refetches to be retried', async () => {
    const board = await lost();
    await board.fail();
    await pass(1_000);
    expect(board.asked).toEqual(['projects/list']);
  });

  it('comes back with the access, each query in use fetched once', async () => {
    const board = await lost();
    await board.answer('without it');
    invite(board);
    await pass(10);
    expect(board.asked).toEqual(['projects/list']);
    await board.answer('with it');
    board.socket.frame(subscribed(LOST));
    await pass(10);
    expect(board.asked).toEqual([`tasks/list/${LOST}`]);
    await board.answer('back');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(board.data(LIST)).toBe('back');
  });

  it.each([true, false])('that may be so is refetched only if it is not (%s)', async (isSo) => {
    const board = await Board.open({}, LOST);
    await board.shown(LIST);
    await board.shown(PROJECTS);
    board.socket.frame(onUser(LOST, 'project_members', 'DELETE', `${LOST}:U`));
    await pass(1_000);
    expect(board.asked).toEqual(['projects/list']);
    await board.answer('new');
    const error = { type: 'error', code: 'forbidden', message: '', project_id: LOST };
    board.socket.frame(isSo ? error : subscribed(LOST));
    await pass(10);
    expect(board.asked).toEqual(isSo ? ['projects/list'] : [`tasks/list/${LOST}`]);
    expect(board.data(LIST)).toBe(isSo ? undefined : 'first');
  });

  it('that is refused again after an attempt fetches nothing', async () => {
    const board = await lost();
    await board.answer('without it');
    invite(board);
    await pass(10);
    await board.answer('without it');
    const error = { type: 'error', code: 'forbidden', message: '', project_id: LOST };
    board.socket.frame(error);
    await pass(60_000);
    expect(board.asked.filter((key) => key.includes(LOST))).toEqual([]);
  });

  it('is dropped by a query client that is bound later', async () => {
    const board = await Board.open({}, LOST);
    board.disconnect();
    await board.shown(LIST);
    revoke(board);
    board.bind();
    await pass(10);
    expect(board.data(LIST)).toBeUndefined();
    expect(board.asked).toEqual([]);
  });

  it('is known by a number or a name only where no other open project may be meant', async () => {
    const board = await Board.open({}, '7');
    await board.shown(['tasks', 'list', 7]);
    await board.shown(PROJECTS);
    const error = { type: 'error', code: 'forbidden', message: '', project_id: '7' };
    board.socket.frame(error);
    await pass(10);
    expect(board.data(['tasks', 'list', 7])).toBeUndefined();
    expect(board.asked).toEqual(['projects/list']);
  });

  it('is known by isOf', async () => {
    const isOf = (key: readonly unknown[], id: string): boolean =>
      key[0] === 'projects' || (key[1] === 'mine' && id === LOST);
    const board = await Board.open({ isOf }, LOST);
    await board.shown(['notes', 'mine']);
    await board.shown(PROJECTS);
    revoke(board);
    await pass(10);
    expect(board.data(['notes', 'mine'])).toBeUndefined();
    expect(board.data(PROJECTS)).toBe('first');
  });
});
