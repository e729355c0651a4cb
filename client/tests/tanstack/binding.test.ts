import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { readCursors } from '../../src/tanstack/index.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const TASK = ['tasks', 'detail', 'T'];

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('many events', () => {
  it('in one tick make one refetch', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    for (let place = 10; place < 60; place++) board.socket.change('P', place);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
  });

  it('within batchMs make one refetch', async () => {
    const board = await Board.open({ batchMs: 200 });
    await board.shown(TASK);
    board.socket.change('P', 10);
    await pass(150);
    board.socket.change('P', 11);
    expect(board.asked).toEqual([]);
    await pass(50);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });
});

describe('resets', () => {
  it('of a project make stale what may be of it, and not what names only another', async () => {
    const board = await Board.open();
    const other = 'a9011000-0000-4000-8000-000000000001';
    for (const id of [other, '7']) {
      board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: id });
    }
    await pass(10);
    const ofOther = ['tasks', 'list', { project: other }];
    for (const key of [TASK, ['tasks', 'list', 'P'], ofOther, ['tasks', 'detail', 7]]) {
      await board.shown(key);
    }
    await pass(10);
    board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: 'P' });
    await pass(10);
    expect(board.asked.sort()).toEqual(['tasks/detail/7', 'tasks/detail/T', 'tasks/list/P']);
  });

  it('of everything make everything stale', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.cached(['tasks', 'list', 'Q']);
    board.socket.frame({ type: 'reconnect', data: { reason: 'notify_reconnect' } });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    expect(board.isStale(['tasks', 'list', 'Q'])).toBe(true);
  });

  const spread = { type: 'reconnect', data: { reason: 'gap' }, project_id: 'P', spread_ms: 2_000 };

  it('are fetched at once where they are seen', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    board.socket.frame(spread);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('are stale at once and fetched later where hidden pages refetch', async () => {
    const board = await Board.open({ refetchHidden: true });
    await board.shown(TASK);
    board.world.isOnScreen = false;
    board.socket.frame(spread);
    await pass(10);
    expect(board.isStale(TASK)).toBe(true);
    await pass(980);
    expect(board.asked).toEqual([]);
    await pass(20);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('are fetched as soon as the page is seen again', async () => {
    const board = await Board.open({ refetchHidden: true });
    await board.shown(TASK);
    board.world.isOnScreen = false;
    board.socket.frame(spread);
    await pass(100);
    board.world.signal('visible');
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    await pass(5_000);
    expect(board.asked).toHaveLength(1);
  });
});

describe('a page load', () => {
  it('is not fetched twice', async () => {
    const board = Board.unconnected();
    await board.shown(TASK);
    await pass(3_000);
    board.show(['tasks', 'list', 'P']);
    await board.connect();
    board.socket.connected(['P']);
    await pass(10);
    await board.answer('first');
    await pass(60_000);
    expect(board.requests).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('that is not resumed is fetched anew', async () => {
    const board = Board.unconnected();
    await board.shown(TASK);
    await board.connect();
    board.socket.connected(['P'], { resumed: ['user:U'] });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('proves nothing for what is older, in memory or restored', async () => {
    const board = Board.unconnected();
    await board.shown(TASK);
    await board.shown(['tasks', 'list', 'P']);
    board.client.setQueryData(['old'], 'restored', {
      updatedAt: board.world.loadedAt - 1,
    });
    await pass(58_000);
    await board.connect();
    board.socket.connected(['P']);
    await pass(10);
    expect(board.isStale(['old'])).toBe(true);
    expect(board.isStale(TASK)).toBe(false);
    await pass(60_000);
    board.connection.open('Q');
    await pass();
    board.socket.frame({ type: 'subscribed', project_id: 'Q', cursor: 'q1', resumed: true });
    await pass(10);
    expect(board.isStale(TASK)).toBe(true);
  });

  it('what is written over older data is as old', async () => {
    const board = Board.unconnected();
    await board.shown(TASK);
    board.client.setQueryData(['old'], 'restored', { updatedAt: board.world.loadedAt - 1 });
    await pass(1_000);
    await board.connect();
    board.client.setQueryData(['old'], (old: unknown) => `${String(old)}, patched`);
    board.socket.connected(['P']);
    expect(board.isStale(['old'])).toBe(true);
    expect(board.isStale(TASK)).toBe(false);
    await pass(120_000);
    board.client.setQueryData(TASK, (old: unknown) => `${String(old)}, patched`);
    board.connection.open('Q');
    await pass(2_000);
    board.socket.connected(['P']);
    board.socket.frame({ type: 'subscribed', project_id: 'Q', cursor: 'q1', resumed: true });
    expect(board.isStale(TASK)).toBe(true);
  });

  it('a fetch that is new enough is waited for, not repeated', async () => {
    const board = Board.unconnected();
    await board.shown(TASK);
    await pass(120_000);
    await board.connect();
    void board.client.refetchQueries({ queryKey: TASK });
    board.socket.connected(['P']);
    await pass(10);
    expect(board.isStale(TASK)).toBe(true);
    await board.answer('new');
    await pass(60_000);
    expect(board.asked).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('a clock that was put back proves nothing', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    vi.setSystemTime(Date.now() - 10_000_000);
    board.connection.open('Q');
    await pass();
    board.socket.frame({ type: 'subscribed', project_id: 'Q', cursor: 'q1', resumed: true });
    expect(board.isStale(TASK)).toBe(true);
  });
});

describe('options', () => {
  it('settleMs fetches once more', async () => {
    const board = await Board.open({ settleMs: 2_000 });
    await board.shown(TASK);
    await board.cached(['tasks', 'list', 'P']);
    await board.change();
    await board.answer('from a replica that lags');
    await pass(1_980);
    expect(board.asked).toEqual([]);
    await pass(30);
    await board.answer('new');
    await pass(60_000);
    expect(board.requests).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('isOf says what is of a project', async () => {
    const board = await Board.open({ isOf: (key, id) => key[0] !== 'weather' && id === 'P' });
    await board.shown(TASK);
    await board.shown(['weather']);
    board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: 'P' });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('isEcho leaves alone what its response has brought', async () => {
    const board = await Board.open({ isEcho: (change, key) => key.includes(change.id) });
    await board.shown(TASK);
    await board.shown(['tasks', 'list', 'P']);
    await board.change();
    expect(board.asked).toEqual(['tasks/list/P']);
    expect(board.isStale(TASK)).toBe(false);
  });
});

describe("an app's function that fails", () => {
  const LIST = ['tasks', 'list', 'P'];
  const fail = (): never => {
    throw new Error('bug');
  };

  it.each([
    ['throws', fail],
    ['returns nothing', () => undefined as never],
    ['returns null for keys', () => ({ invalidate: null as never })],
  ])('a mapping that %s makes everything of the project stale, and warns once', async (_, map) => {
    const board = await Board.open({ mapping: { task: map } });
    await board.shown(TASK);
    await board.shown(LIST);
    await board.change(7);
    expect(board.asked).toEqual(['tasks/detail/T', 'tasks/list/P']);
    expect(readCursors(board.client)['project:P']).toBe('project:P@1');
    await board.change(8);
    expect(board.world.warnings).toEqual([
      expect.stringMatching(/^the mapping of "task" failed: (TypeError|Error: bug)/) as string,
    ]);
  });

  it('isOf counts as yes, isEcho as no, and neither fails again in a later write', async () => {
    const board = await Board.open({ isOf: fail, isEcho: fail, mapping: { task: fail } });
    await board.shown(TASK);
    board.show(LIST);
    board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: 'P' });
    await board.change();
    expect(board.isStale(TASK)).toBe(true);
    board.client.setQueryData(['written'], 'meanwhile');
    expect(board.data(['written'])).toBe('meanwhile');
    expect(board.isStale(['written'])).toBe(true);
    expect(board.world.warnings).toEqual([
      'isOf failed: Error: bug',
      'the mapping of "task" failed: Error: bug',
      'isEcho failed: Error: bug',
    ]);
  });

  it('shouldRetry counts as yes', async () => {
    const board = await Board.open({ shouldRetry: fail });
    await board.shown(TASK);
    await board.change();
    await board.fail();
    await pass(1_000);
    expect(board.asked).toEqual(['tasks/detail/T']);
    expect(board.world.warnings).toEqual(['shouldRetry failed: Error: bug']);
  });
});

describe('the cursors in the cache', () => {
  it('are from before the oldest event whose refetch has not settled', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.shown(['sprints', 'detail', 'S']);
    const place = (): string | undefined => readCursors(board.client)['project:P'];
    expect(place()).toBe('project:P@1');
    await board.change(7);
    expect(place()).toBe('project:P@1');
    await board.change(8, 'sprint', 'S');
    await board.answer('task');
    expect(place()).toBe('project:P@7');
    await board.answer('sprint');
    expect(place()).toBe('project:P@8');
  });

  it('wait for the second refetch where the first began too early', async () => {
    const board = await Board.open();
    board.show(TASK);
    await board.change(7);
    await board.answer('old');
    expect(readCursors(board.client)['project:P']).toBe('project:P@1');
    await pass(10);
    await board.answer('new');
    expect(readCursors(board.client)['project:P']).toBe('project:P@7');
  });

  it('wait for settleMs', async () => {
    const board = await Board.open({ settleMs: 2_000 });
    await board.cached(TASK);
    await board.change(7);
    expect(readCursors(board.client)['project:P']).toBe('project:P@1');
    await pass(2_010);
    expect(readCursors(board.client)['project:P']).toBe('project:P@7');
  });

  it('are not touched by refetching or invalidating everything', async () => {
    const board = await Board.open();
    const cursors = readCursors(board.client);
    void board.client.refetchQueries();
    await board.client.invalidateQueries();
    await pass(10);
    expect(readCursors(board.client)).toEqual(cursors);
    expect(board.client.getQueryState(['neverstale'])?.status).toBe('success');
  });

  it('stay away once the cache is let go', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await board.change(7);
    board.disconnect();
    board.client.clear();
    await board.answer('late');
    await pass(60_000);
    expect(readCursors(board.client)).toEqual({});
  });
});
