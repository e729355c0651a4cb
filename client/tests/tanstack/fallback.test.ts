import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { readCursors } from '../../src/tanstack/index.js';
import { subscribed } from '../core/script.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const TASK = ['tasks', 'detail', 'T'];
const LIST = ['tasks', 'list', 'P'];
const A = 'a0000000-0000-4000-8000-000000000001';
const B = 'b0000000-0000-4000-8000-000000000002';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('while live', () => {
  it('nothing is refetched without an event', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.cached(LIST);
    board.show(LIST);
    for (const signal of ['focus', 'online'] as const) board.world.signal(signal);
    await board.wake();
    await board.mutate();
    await pass(120_000);
    expect(board.asked).toEqual([]);
  });
});

describe('while not live', () => {
  async function degraded(...args: Parameters<typeof Board.open>): Promise<Board> {
    const board = await Board.open(...args);
    await board.shown(TASK);
    await board.cached(LIST);
    board.setLive(false);
    await pass(10);
    expect(board.asked).toEqual([]);
    return board;
  }

  it('a query is refetched each time it is mounted', async () => {
    const board = await degraded();
    const hide = board.show(LIST);
    expect(board.asked).toEqual(['tasks/list/P']);
    board.show(LIST);
    await board.answer('second');
    await pass(1_000);
    expect(board.asked).toEqual([]);
    hide();
    board.show(LIST);
    expect(board.asked).toEqual(['tasks/list/P']);
    await board.answer('third');
    await pass(1_000);
    expect(board.asked).toEqual([]);
    expect(board.data(LIST)).toBe('third');
  });

  it.each(['focus', 'visible', 'online'] as const)(
    '%s refetches what is in use',
    async (signal) => {
      const board = await degraded();
      board.world.signal(signal);
      await pass(200);
      expect(board.asked).toEqual(['tasks/detail/T']);
      board.world.signal(signal);
      await board.answer('second');
      await pass(1_000);
      expect(board.asked).toEqual([]);
    },
  );

  it('the first load of a query that failed is repeated on focus', async () => {
    const board = await degraded();
    board.show(['new']);
    await board.fail();
    await pass(10_000);
    expect(board.asked).toEqual([]);
    board.world.signal('focus');
    await pass(200);
    expect(board.asked).toContain('new');
  });

  it("the app's own successful mutation refetches what is in use", async () => {
    const board = await degraded();
    await board.mutate(() => Promise.reject(new Error('refused')));
    expect(board.asked).toEqual([]);
    await board.mutate();
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('a mutation counts for a fetch that began before it succeeded', async () => {
    const board = await degraded();
    board.world.signal('focus');
    await pass(200);
    await board.mutate();
    await board.answer('without the write');
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('with the write');
    await pass(10);
    expect(board.asked).toEqual([]);
  });

  it('what is in use is polled every 30 s, give or take a fifth, while visible', async () => {
    const board = await degraded();
    await pass(29_900);
    expect(board.asked).toEqual([]);
    await pass(200);
    expect(board.asked).toEqual(['tasks/detail/T']);
    board.world.chance = 0;
    await board.answer('second');
    await pass(30_000);
    await board.answer('third');
    expect(board.asked).toEqual([]);
    await pass(24_100);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('fourth');
    board.world.isOnScreen = false;
    await pass(120_000);
    expect(board.asked).toEqual([]);
    await board.wake();
    await board.answer('fifth');
    await pass(24_100);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('sixth');
    board.setLive(true);
    await pass(120_000);
    expect(board.asked).toEqual([]);
  });

  it('polling can be slower, faster and switched off', async () => {
    const board = await degraded({ pollMs: 5_000 });
    await pass(5_000);
    expect(board.asked).toEqual(['tasks/detail/T']);
    const other = await degraded({ pollMs: false });
    await pass(120_000);
    expect(other.asked).toEqual([]);
  });

  it('nothing is refetched once the query client is let go', async () => {
    const board = await degraded();
    board.world.signal('focus');
    board.disconnect();
    board.world.signal('focus');
    board.show(LIST);
    await board.mutate();
    await pass(120_000);
    expect(board.asked).toEqual([]);
  });
});

describe('while unauthorized', () => {
  it('nothing is polled or retried, but a mount refetches', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.cached(LIST);
    board.token = null;
    board.socket.end(4401);
    await pass(10);
    expect(board.connection.status()).toBe('unauthorized');
    board.show(LIST);
    await pass(10);
    expect(board.asked).toEqual(['tasks/list/P']);
    await board.fail();
    await pass(120_000);
    expect(board.asked).toEqual([]);

    board.token = 'T';
    board.connection.reconnect();
    await pass();
    board.socket.connected(['P'], { cursors: readCursors(board.client) });
    await pass(10);
    expect(board.asked).toEqual(['tasks/list/P']);
  });
});

describe('while one project is not live', () => {
  async function ofTwo(): Promise<Board> {
    const board = await Board.open({}, A);
    board.connection.open(B);
    await pass();
    for (const id of [A, B]) await board.shown(['tasks', 'list', id]);
    return board;
  }

  it('only what may be of it is refetched on focus', async () => {
    const board = await ofTwo();
    await board.shown(['projects', 'list']);
    await pass(2_000);
    expect(board.connection.status(B)).toBe('connecting');
    board.world.signal('focus');
    await pass(3_200);
    expect(board.asked.sort()).toEqual(['projects/list', `tasks/list/${B}`]);
  });

  it('and it is live in time, nothing is', async () => {
    const board = await ofTwo();
    board.socket.frame(subscribed(B));
    board.world.signal('focus');
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('because nobody has it open, a mount refetches its queries after the grace', async () => {
    const board = await Board.open({}, A);
    const close = board.connection.open(B);
    await pass();
    board.socket.frame(subscribed(B));
    await board.cached(['tasks', 'list', B]);
    close();
    await pass(10_000);
    const hide = board.show(['tasks', 'list', B]);
    await pass(2_900);
    expect(board.asked).toEqual([]);
    await pass(200);
    expect(board.asked).toEqual([`tasks/list/${B}`]);
    await board.answer('second');
    hide();
    board.show(['tasks', 'list', B]);
    board.connection.open(B);
    await pass();
    board.socket.frame(subscribed(B));
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });
});

describe('while connecting', () => {
  it('restored data is shown, and refetched after 3 s without an answer', async () => {
    const board = Board.unconnected();
    board.client.setQueryData(TASK, 'restored', { updatedAt: board.world.loadedAt - 1 });
    board.show(TASK);
    await board.connect();
    await pass(2_900);
    expect(board.asked).toEqual([]);
    await pass(200);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('second');
    await pass(1_000);
    board.show(TASK);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('what has just been fetched by the app is not fetched again after the grace', async () => {
    const board = Board.unconnected();
    board.client.setQueryData(TASK, 'restored', { updatedAt: board.world.loadedAt - 1 });
    board.show(TASK);
    await board.connect();
    await pass(500);
    void board.client.refetchQueries({ queryKey: TASK });
    await board.answer('second');
    await pass(5_000);
    expect(board.asked).toEqual([]);
  });

  it('what is unmounted before the grace ends is not refetched', async () => {
    const board = Board.unconnected();
    board.client.setQueryData(TASK, 'restored', { updatedAt: board.world.loadedAt - 1 });
    const hide = board.show(TASK);
    await board.connect();
    hide();
    await pass(10_000);
    expect(board.asked).toEqual([]);
  });
});

describe('when live again', () => {
  it('only what changed meanwhile is fetched, once, although the page returned too', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.shown(['sprints', 'detail', 'S']);
    board.socket.end(1006);
    board.world.signal('online');
    board.world.signal('visible');
    board.world.signal('focus');
    await pass(1_000);
    board.socket.connected(['P'], { cursors: readCursors(board.client) });
    await board.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('what was polled is fetched again only if it changed, or if that cannot be proved', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    board.socket.end(1006);
    await pass(1_000);
    await pass(60_000);
    await board.answer('polled');
    expect(board.asked).toEqual([]);
    const cursors = readCursors(board.client);
    board.socket.connected(['P'], { cursors });
    await pass(10);
    expect(board.asked).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
    await pass(20_000);
    board.socket.end(1006);
    await pass(1_000);
    board.socket.connected(['P'], { resumed: ['user:U'] });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('a first load that failed meanwhile is repeated', async () => {
    const board = await Board.open({ pollMs: false });
    board.setLive(false);
    board.show(TASK);
    await board.fail();
    await pass(60_000);
    expect(board.asked).toEqual([]);
    board.setLive(true);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });
});
