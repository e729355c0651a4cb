import { dehydrate, hydrate, QueryClient, type DehydratedState } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Cursors } from '../../src/index.js';
import { connectQueryClient } from '../../src/tanstack/index.js';
import { stampFetches } from '../../src/tanstack/hydration.js';
import { subscribed } from '../core/script.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const TASK = ['tasks', 'detail', 'T'];
const LIST = ['tasks', 'list', 'P'];
const Q = '9e313100-0000-4000-8000-000000000002';
const LIST_OF_Q = ['tasks', 'list', Q];
/** Those of a server that has read them when the board connects, without a change since. */
const CURSORS: Cursors = { 'project:P': 'project:P@1', 'user:U': 'user:U@1' };

/** What a server sends that has fetched these queries, after it had read the cursors. */
async function render(
  queryKeys: string[][],
  cursors?: Cursors,
  fetch: () => Promise<string> = () => Promise.resolve('rendered'),
): Promise<DehydratedState> {
  const client = new QueryClient();
  if (cursors) stampFetches(client, cursors);
  const fetching = queryKeys.map((queryKey) => client.query({ queryKey, queryFn: fetch }));
  void Promise.allSettled(fetching);
  await pass();
  const state = dehydrate(client, { shouldDehydrateQuery: () => true });
  const queries = state.queries.map(({ promise, ...query }) => ({
    ...(JSON.parse(JSON.stringify(query)) as typeof query),
    ...(promise && { promise }),
  }));
  return { mutations: [], queries };
}

/** A page that shows the rendered queries, and has connected. */
async function open(state: DehydratedState, ...shown: string[][]): Promise<Board> {
  const board = Board.unconnected();
  hydrate(board.client, state);
  for (const queryKey of shown) board.show(queryKey);
  await board.connect();
  return board;
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('a page that a server rendered', () => {
  it('with cursors resumes from them and fetches only what changed since', async () => {
    const board = await open(await render([TASK, LIST], CURSORS), TASK, LIST);
    const since = board.socket.url.searchParams.getAll('since');
    expect(since.sort()).toEqual(Object.values(CURSORS).sort());
    board.socket.connected(['P']);
    await pass(60_000);
    expect(board.asked).toEqual([]);
    await board.change(7, 'task', 'other');
    expect(board.asked).toEqual(['tasks/list/P']);
    await board.answer('new');
    expect(board.data(LIST)).toBe('new');
    expect(board.data(TASK)).toBe('rendered');
    expect(board.isStale(TASK)).toBe(false);
  });

  it('with cursors that are too old fetches everything again', async () => {
    const board = await open(await render([TASK], CURSORS), TASK);
    board.socket.connected(['P'], { resumed: ['user:U'] });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it.each([
    ['is right', 0],
    ['is an hour ahead', 3_600_000],
  ])('earlier and without cursors fetches everything again if its clock %s', async (_, aheadMs) => {
    const now = Date.now();
    vi.setSystemTime(now + aheadMs);
    const state = await render([TASK]);
    vi.setSystemTime(now + 1);
    const board = await open(state, TASK);
    board.socket.connected(['P'], { resumed: ['project:P', 'user:U'] });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('without cursors is not fetched again if it was fetched since the navigation', async () => {
    const board = Board.unconnected();
    await pass(100);
    hydrate(board.client, await render([TASK]));
    board.show(TASK);
    await pass(100);
    await board.connect();
    board.socket.connected(['P']);
    await pass(10);
    expect(board.asked).toEqual([]);
    expect(board.isStale(TASK)).toBe(false);
  });

  it('does not count as fresh what was fetched here before the server read the cursors', async () => {
    const board = Board.unconnected();
    await board.shown(LIST);
    board.show(['projects', 'list']);
    hydrate(board.client, await render([TASK], CURSORS));
    board.show(TASK);
    board.show(['sprints', 'list', 'P']);
    await board.connect();
    board.socket.connected(['P']);
    await pass(10);
    expect(board.asked).toEqual(['projects/list', 'sprints/list/P', 'tasks/list/P']);
    for (let n = 0; n < 3; n += 1) await board.answer('new');
    await pass(10);
    expect(board.asked).toEqual(['projects/list']);
  });

  it('over a restored cache resumes from the cursors of the latter', async () => {
    const first = await Board.open();
    await first.cached(LIST);
    await first.change(5);
    await first.answer('v5');
    const board = Board.unconnected();
    hydrate(board.client, dehydrate(first.client));
    hydrate(board.client, await render([TASK], { ...CURSORS, 'project:P': 'project:P@6' }));
    board.show(TASK);
    await board.connect();
    expect(board.socket.url.searchParams.getAll('since')).toContain('project:P@5');
    board.socket.connected(['P'], { cursors: { ...CURSORS, 'project:P': 'project:P@5' } });
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    expect(board.isStale(LIST)).toBe(true);
  });
});

describe('data that a server rendered for a page that is live', () => {
  it('is fresh if nothing changed since the server read the cursors', async () => {
    const board = await Board.open();
    hydrate(board.client, await render([TASK], CURSORS));
    board.show(TASK);
    await pass(60_000);
    expect(board.asked).toEqual([]);
    await board.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('is fresh in place of older data', async () => {
    const board = await Board.open();
    await board.shown(TASK);
    await pass(1_000);
    hydrate(board.client, await render([TASK], CURSORS));
    await pass(10);
    expect(board.data(TASK)).toBe('rendered');
    expect(board.asked).toEqual([]);
  });

  it.each([
    ['its project', { 'project:P': 'project:P@0' }],
    ["the user's lists", { 'user:U': 'user:U@0' }],
  ])('is stale if %s changed since', async (_, older) => {
    const board = await Board.open();
    hydrate(board.client, await render([TASK], { ...CURSORS, ...older }));
    board.show(TASK);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('is stale if the server had no cursor of a project that it may be of', async () => {
    const board = await Board.open({ isOf: (key, id) => key.includes(id) });
    hydrate(board.client, await render([TASK, LIST], { 'user:U': 'user:U@1' }));
    expect(board.isStale(TASK)).toBe(false);
    expect(board.isStale(LIST)).toBe(true);
  });

  it.each([
    ['is fresh when its project is opened, if nothing changed in that', 1, []],
    ['is fetched again when its project is opened, if that changed', 2, [LIST_OF_Q.join('/')]],
  ])('%s', async (_, place, again) => {
    const board = await Board.open();
    const cursors = { 'user:U': 'user:U@1', [`project:${Q}`]: `project:${Q}@1` };
    hydrate(board.client, await render([LIST_OF_Q], cursors));
    board.show(LIST_OF_Q);
    board.connection.open(Q);
    await pass();
    board.socket.frame(subscribed(Q, { resumed: false, cursor: `project:${Q}@${String(place)}` }));
    await pass(10);
    expect(board.asked).toEqual(again);
  });

  it('is stale after a reset of its project', async () => {
    const board = await Board.open();
    hydrate(board.client, await render([TASK], CURSORS));
    const cursors = { 'project:P': 'project:P@9' };
    board.socket.frame({ type: 'reconnect', project_id: 'P', data: { reason: 'lagged' }, cursors });
    expect(board.isStale(TASK)).toBe(true);
  });

  it('is stale without cursors', async () => {
    const board = await Board.open();
    hydrate(board.client, await render([TASK]));
    expect(board.isStale(TASK)).toBe(true);
  });
});

describe('data that a server rendered for a query client that is bound late', () => {
  it.each([
    ['is fresh if nothing changed since the server read the cursors', CURSORS, []],
    ['is stale if its project changed since', { ...CURSORS, 'project:P': 'project:P@0' }, [TASK]],
    ["is stale if the user's lists changed since", { ...CURSORS, 'user:U': 'user:U@0' }, [TASK]],
    ['is stale without cursors, however new it is', undefined, [TASK]],
  ])('%s', async (_, cursors, again) => {
    const live = await Board.open();
    const board = Board.unconnected();
    hydrate(board.client, await render([TASK], cursors));
    board.show(TASK);
    const disconnect = connectQueryClient(live.connection, board.client);
    await pass(60_000);
    expect(board.asked).toEqual(again.map((key) => key.join('/')));
    if (again.length > 0) await board.answer('new');
    await live.change();
    expect(board.asked).toEqual(['tasks/detail/T']);
    await board.answer('newest');
    expect(board.isStale(TASK)).toBe(false);
    disconnect();
  });

  it('is stale if an event came after it was rendered and before it was bound', async () => {
    const live = await Board.open();
    const board = Board.unconnected();
    hydrate(board.client, await render([TASK, LIST], CURSORS));
    board.show(TASK);
    await live.change();
    const disconnect = connectQueryClient(live.connection, board.client);
    await pass(10);
    expect(board.asked).toEqual(['tasks/detail/T']);
    expect(board.isStale(LIST)).toBe(true);
    disconnect();
  });

  it.each([
    ['with cursors, which the fetch has dropped', CURSORS],
    ['without cursors', undefined],
  ])('and streams is fetched again when it arrives, %s', async (_, cursors) => {
    let answer: (data: string) => void = () => undefined;
    const state = await render([LIST], cursors, () => new Promise((resolve) => (answer = resolve)));
    const live = await Board.open();
    const board = Board.unconnected();
    hydrate(board.client, state);
    board.show(LIST);
    const disconnect = connectQueryClient(live.connection, board.client);
    await pass(10);
    answer('rendered');
    await pass(10);
    expect(board.data(LIST)).toBe('rendered');
    expect(board.asked).toEqual(['tasks/list/P']);
    await board.answer('new');
    expect(board.isStale(LIST)).toBe(false);
    disconnect();
  });
});

describe('an answer that a server streams', () => {
  it.each([
    ['is fresh if nothing changed since the server read the cursors', CURSORS, []],
    ['is fetched again if something did', { ...CURSORS, 'project:P': 'project:P@0' }, [LIST]],
    ['is fetched again without cursors', undefined, [LIST]],
  ])('%s', async (_, cursors, again) => {
    let answer: (data: string) => void = () => undefined;
    const state = await render([LIST], cursors, () => new Promise((resolve) => (answer = resolve)));
    const board = await Board.open();
    hydrate(board.client, state);
    board.show(LIST);
    await pass(100);
    expect(board.asked).toEqual([]);
    answer('rendered');
    await pass(10);
    expect(board.data(LIST)).toBe('rendered');
    expect(board.asked).toEqual(again.map((key) => key.join('/')));
    if (again.length === 0) return;
    await board.answer('new');
    expect(board.isStale(LIST)).toBe(false);
  });

  it('in place of older data is fetched again', async () => {
    const board = await Board.open();
    await board.shown(LIST);
    await pass(1_000);
    hydrate(board.client, await render([LIST], undefined, () => new Promise(() => undefined)));
    await board.change(7, 'sprint');
    await board.client.cancelQueries({ queryKey: LIST });
    await pass(10_000);
    expect(board.asked).toEqual(['tasks/list/P']);
  });

  it('is stale if something changes before it arrives', async () => {
    let answer: (data: string) => void = () => undefined;
    const state = await render([LIST], CURSORS, () => new Promise((resolve) => (answer = resolve)));
    const board = await Board.open();
    hydrate(board.client, state);
    board.show(LIST);
    await board.change();
    answer('rendered');
    await pass(10);
    expect(board.asked).toEqual(['tasks/list/P']);
  });
});
