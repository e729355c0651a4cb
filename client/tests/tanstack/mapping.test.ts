import type { QueryKey } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { defaultMapping } from '../../src/tanstack/index.js';
import { pass } from '../world.js';
import { Board } from './board.js';

const OTHER = 'a9011000-0000-4000-8000-000000000001';
const ALL: QueryKey[] = [
  ['projects', 'detail', 'P'],
  ['projects', 'detail', OTHER],
  ['projects', 'list', { archived: false }],
  ['projects', 'bundle', 'P'],
  ['sprints', 'detail', 'S'],
  ['sprints', 'list', 'P'],
  ['tasks', 'detail', 'T'],
  ['tasks', 'detail', 'other'],
  ['tasks', 'list', 'P', { done: true }],
  ['tasks', 'list', OTHER],
  ['tasks', 'sprint', 'S'],
  ['projectMembers', 'P'],
  ['messages', 'list', 'P'],
];

const ROWS: [string, string, string[]][] = [
  ['project', 'P', ['projects/detail/P', 'projects/list/{"archived":false}']],
  ['sprint', 'S', ['projects/bundle/P', 'sprints/detail/S', 'sprints/list/P']],
  ['task', 'T', ['tasks/detail/T', 'tasks/list/P/{"done":true}', 'tasks/sprint/S']],
  [
    'project_members',
    'P:U2',
    ['projectMembers/P', 'projects/bundle/P', 'projects/list/{"archived":false}'],
  ],
  ['message', 'M', ['messages/list/P']],
];

const spell = (key: QueryKey): string =>
  key.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join('/');

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('the default mapping', () => {
  it.each(ROWS)('%s: exactly these are stale, and refetched where in use', async (...row) => {
    const [resource, id, keys] = row;
    const board = await Board.open();
    for (const key of ALL) await board.shown(key);
    await board.change(7, resource, id);
    expect(board.requests.map(({ key }) => spell(key)).sort()).toEqual(keys);
    expect(
      ALL.filter((key) => board.isStale(key))
        .map(spell)
        .sort(),
    ).toEqual(keys);
  });

  it.each(ROWS)('%s: what is not in use waits, but for the members', async (...row) => {
    const [resource, id, keys] = row;
    const board = await Board.open();
    for (const key of ALL) await board.cached(key);
    await board.change(7, resource, id);
    const atOnce = resource === 'project_members' ? ['projectMembers/P', 'projects/bundle/P'] : [];
    expect(board.requests.map(({ key }) => spell(key)).sort()).toEqual(atOnce);
    expect(
      ALL.filter((key) => board.isStale(key))
        .map(spell)
        .sort(),
    ).toEqual(keys);
  });

  it('what is fetched at once needs a query function', async () => {
    const board = await Board.open();
    board.client.setDefaultOptions({ queries: { staleTime: Infinity } });
    board.client.setQueryData(['projectMembers', 'P'], 'written');
    await board.change(7, 'project_members', 'P:U2');
    expect(board.client.getQueryState(['projectMembers', 'P'])?.status).toBe('success');
    expect(board.isStale(['projectMembers', 'P'])).toBe(true);
  });

  it('a numeric id in a key is that id', async () => {
    const board = await Board.open();
    await board.shown(['tasks', 'detail', 7]);
    await board.change(7, 'task', '7');
    expect(board.asked).toEqual(['tasks/detail/7']);
  });
});

describe("a row of no project, but of the user's own", () => {
  function ownChange(board: Board, resource: string): void {
    board.socket.frame({
      type: 'cache_invalidate',
      resource,
      action: 'UPDATE',
      project_id: null,
      data: { id: 'M', timestamp: '' },
      channel: 'user:U',
      cursor: 'user:U.2',
    });
  }

  it('makes the lists of all projects stale', async () => {
    const board = await Board.open();
    const lists = [
      ['messages', 'list', 'P'],
      ['messages', 'list', OTHER],
    ];
    for (const key of [...lists, ['tasks', 'list', 'P']]) await board.shown(key);
    ownChange(board, 'message');
    await pass(10);
    expect(board.asked.sort()).toEqual(lists.map((key) => key.join('/')).sort());
  });

  it('makes everything stale where its resource is unknown', async () => {
    const board = await Board.open();
    board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: OTHER });
    await pass(10);
    await board.shown(['reminders', OTHER]);
    ownChange(board, 'reminder');
    await pass(10);
    expect(board.asked).toEqual([`reminders/${OTHER}`]);
  });
});

describe('an own mapping', () => {
  it('replaces the entries that it names, and leaves the others', async () => {
    const board = await Board.open({
      mapping: { task: ({ id }) => ({ invalidate: [['todo', id]] }) },
    });
    await board.shown(['todo', 'T']);
    await board.shown(['tasks', 'detail', 'T']);
    await board.shown(['sprints', 'detail', 'S']);
    await board.change(7, 'task', 'T');
    expect(board.asked).toEqual(['todo/T']);
    await board.change(8, 'sprint', 'S');
    expect(board.asked).toEqual(['todo/T', 'sprints/detail/S']);
  });

  it('can extend a default entry', async () => {
    const board = await Board.open({
      mapping: {
        task: (change) => ({
          invalidate: [...defaultMapping.task(change).invalidate, ['burndown', change.projectId]],
        }),
      },
    });
    await board.shown(['burndown', 'P']);
    await board.shown(['tasks', 'detail', 'T']);
    await board.change();
    expect(board.asked.sort()).toEqual(['burndown/P', 'tasks/detail/T']);
  });
});

describe('an unknown resource', () => {
  it('is one, whatever it is called', async () => {
    const board = await Board.open();
    await board.shown(['tasks', 'detail', 'T']);
    await board.change(7, 'constructor', 'I');
    expect(board.asked).toEqual(['tasks/detail/T']);
  });

  it('warns once, and makes everything of its project stale', async () => {
    const board = await Board.open();
    for (const key of ALL) await board.shown(key);
    board.socket.frame({ type: 'reconnect', data: { reason: 'gap' }, project_id: OTHER });
    await pass(10);
    while (board.requests.length > 0) await board.answer('again');
    await board.change(7, 'invoice', 'I');
    await board.change(8, 'invoice', 'J');
    expect(board.world.warnings).toEqual([expect.stringContaining('"invoice"')]);
    const others = [`projects/detail/${OTHER}`, `tasks/list/${OTHER}`];
    const asked = board.requests.map(({ key }) => spell(key));
    expect([...asked, ...others].sort()).toEqual(ALL.map(spell).sort());
  });
});
