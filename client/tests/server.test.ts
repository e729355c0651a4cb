import { dehydrate, QueryClient } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { prefetchCursors } from '../src/server/index.js';
import { readCursors } from '../src/tanstack/index.js';
import { connected, subscribed } from './core/script.js';
import { pass, World } from './world.js';

const GATEWAY = 'https://live.example.com/api/v1/messages/ws';

let world: World;
let client: QueryClient;
let finished: Promise<void>;

function prefetch(...projectIds: string[]): void {
  finished = prefetchCursors(client, { url: GATEWAY, token: 'T', projectIds, environment: world });
}

/** The cursors that come with a query that is fetched now. */
async function cursorsOfFetch(): Promise<object> {
  await client.query({ queryKey: ['tasks'], queryFn: () => 'rendered' });
  const browser = new QueryClient();
  const [query] = dehydrate(client).queries;
  browser.getQueryCache().build(browser, { queryKey: ['tasks'] }, query?.state);
  return readCursors(browser);
}

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
  client = new QueryClient();
});

afterEach(() => {
  vi.useRealTimers();
});

it('adds the newest cursors to what is fetched afterwards', async () => {
  prefetch('P', 'Q');
  const { socket } = world;
  expect(socket.url.href).toBe('wss://live.example.com/api/v1/messages/ws');
  expect(socket.protocols).toEqual(['neverstale.v1', 'bearer.T']);
  socket.frame(connected([], { resumed: [] }));
  expect(socket.sent).toEqual([
    { type: 'subscribe', project_id: 'P' },
    { type: 'subscribe', project_id: 'Q' },
  ]);
  socket.frame(subscribed('P', { resumed: false }));
  expect(socket.isClosed).toBe(false);
  socket.frame(subscribed('Q', { resumed: false }));
  await finished;
  expect(socket.isClosed).toBe(true);
  expect(await cursorsOfFetch()).toEqual({
    'user:U': 'user:U@1',
    'project:P': 'project:P@1',
    'project:Q': 'project:Q@1',
  });
  expect(world.warnings).toEqual([]);
});

it('needs no project', async () => {
  prefetch();
  world.socket.frame(connected([], { resumed: [] }));
  await finished;
  expect(await cursorsOfFetch()).toEqual({ 'user:U': 'user:U@1' });
});

it('leaves out a project that the user may not see', async () => {
  prefetch('P', 'Q');
  world.socket.frame(connected([], { resumed: [] }));
  world.socket.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'Q' });
  world.socket.frame(subscribed('P', { resumed: false }));
  await finished;
  expect(await cursorsOfFetch()).toEqual({ 'user:U': 'user:U@1', 'project:P': 'project:P@1' });
});

it.each<[string, () => unknown]>([
  ['the gateway does not answer', () => pass(1_000)],
  [
    'the token is refused',
    () => {
      world.socket.end(4401);
    },
  ],
  [
    'the gateway sends what is no frame',
    () => {
      world.socket.frame([]);
    },
  ],
])('renders without cursors if %s', async (_, fail) => {
  prefetch('P');
  await fail();
  await finished;
  world.socket.end(1006);
  expect(await cursorsOfFetch()).toEqual({});
  expect(world.warnings).toHaveLength(1);
  expect(world.socket.isClosed).toBe(true);
});

it('renders without cursors if the runtime has no WebSocket', async () => {
  vi.spyOn(world, 'openSocket').mockImplementation(() => {
    throw new ReferenceError('WebSocket is not defined');
  });
  prefetch('P');
  await finished;
  expect(await cursorsOfFetch()).toEqual({});
  expect(world.warnings).toEqual([
    'rendered without cursors: ReferenceError: WebSocket is not defined',
  ]);
});
