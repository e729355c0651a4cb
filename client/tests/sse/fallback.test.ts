import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection, type Connection, type NeverstaleEvent } from '../../src/index.js';
import type { ConnectionOptions } from '../../src/connection.js';
import { change, connected } from '../core/script.js';
import { optionsIn, pass, World } from '../world.js';

/** The first backoffs, with the world's chance. */
const FIRST_MS = 500;
const SECOND_MS = 1_000;
const IDS = 'project:P@1,user:U@1';

let world: World;
let heard: NeverstaleEvent[];
let token: string;

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
  world.allowStreams();
  heard = [];
  token = 'T';
});

afterEach(() => {
  vi.useRealTimers();
});

async function start(more: Partial<ConnectionOptions> = {}): Promise<Connection> {
  const options = optionsIn(world, { projectId: 'P', getToken: () => token, ...more });
  const connection = createConnection(options);
  connection.subscribe((event) => heard.push(event));
  await pass();
  // The code of streams is loaded on demand.
  await vi.dynamicImportSettled();
  await pass();
  return connection;
}

/** Lets time pass in which the code of streams may have to be loaded. */
async function wait(ms: number): Promise<void> {
  await pass(ms);
  await vi.dynamicImportSettled();
  await pass();
}

async function greet(projectIds = ['P'], ids = IDS, frame: object = {}): Promise<void> {
  world.stream.open();
  world.stream.frame(connected(projectIds, frame), ids);
  await pass();
}

/** A connection on a stream, after two sockets that could not be opened. */
async function startBlocked(more: Partial<ConnectionOptions> = {}): Promise<Connection> {
  const connection = await start(more);
  world.socket.end(1006);
  await wait(FIRST_MS);
  world.socket.end(1006);
  await wait(SECOND_MS);
  await greet();
  expect(connection.status('P')).toBe('live');
  heard = [];
  return connection;
}

function stale(): string[] {
  return heard.flatMap((event) => (event.type === 'stale' ? [event.projectId ?? '*'] : []));
}

describe('the choice of server-sent events', () => {
  it('is made after two sockets that never opened', async () => {
    const connection = await start();
    world.socket.end(1006);
    await wait(FIRST_MS);
    expect(world.streams).toEqual([]);
    world.socket.end(1006);
    await wait(SECOND_MS);
    expect(world.sockets).toHaveLength(2);
    expect(world.stream.url.href).toBe(
      'https://live.example.com/api/v1/messages/sse?project_id=P&age=60000',
    );
    expect(world.stream.headers.get('Authorization')).toBe('Bearer T');
    expect(world.stream.headers.get('Accept')).toBe('text/event-stream');
    await greet();
    expect(connection.status('P')).toBe('live');
  });

  it('is made after two sockets that were never answered', async () => {
    await start();
    await wait(10_000 + FIRST_MS);
    await wait(10_000 + SECOND_MS);
    expect([world.sockets.length, world.streams.length]).toEqual([2, 1]);
  });

  it('is not made because of sockets that are refused or were lost', async () => {
    await start();
    world.socket.frame({ type: 'error', code: 'too_many_connections', message: '' });
    world.socket.end(4429);
    await wait(FIRST_MS);
    world.socket.connected(['P']);
    world.socket.end(1006);
    await wait(SECOND_MS);
    world.socket.end(1006);
    await wait(2 * SECOND_MS);
    expect(world.streams).toEqual([]);
    expect(world.sockets).toHaveLength(4);
  });

  it('is given up if a stream cannot be opened either', async () => {
    await start();
    world.socket.end(1006);
    await wait(FIRST_MS);
    world.socket.end(1006);
    await wait(SECOND_MS);
    world.stream.lose();
    await pass();
    await wait(2 * SECOND_MS);
    expect([world.sockets.length, world.streams.length]).toEqual([3, 1]);
  });

  it('stays the same when a stream that worked is lost', async () => {
    await startBlocked();
    world.stream.lose();
    await pass();
    await wait(2 * SECOND_MS);
    expect([world.sockets.length, world.streams.length]).toEqual([2, 2]);
    expect(world.stream.headers.get('Last-Event-ID')).toBe('user:U@1,project:P@1');
  });

  it('can be switched off', async () => {
    await start({ sse: false });
    for (let tries = 0; tries < 4; tries += 1) {
      world.socket.end(1006);
      await wait(30_000);
    }
    expect(world.streams).toEqual([]);
  });

  it('can be forced', async () => {
    await start({ sse: true });
    await greet();
    await wait(3_600_000);
    expect(world.sockets).toEqual([]);
  });

  it('is not made where responses are no streams', async () => {
    world.fetch = undefined;
    await start({ sse: true });
    expect([world.sockets.length, world.streams.length]).toEqual([1, 0]);
  });
});

describe('a stream', () => {
  it('brings events and cursors as a socket does', async () => {
    const connection = await startBlocked();
    world.stream.frame(change('P', 2), 'project:P@2,user:U@1');
    await pass();
    expect(heard).toMatchObject([{ type: 'change', resource: 'task', projectId: 'P' }]);
    expect(connection.cursors()['project:P']).toBe('project:P@2');
  });

  it('has another stream take its place when projects are opened or released', async () => {
    const connection = await startBlocked();
    const first = world.stream;
    const release = connection.open('Q');
    connection.open('R');
    await wait(49);
    expect(world.streams).toHaveLength(1);
    await wait(1);
    expect(world.streams).toHaveLength(2);
    expect(first.isAborted).toBe(true);
    expect(world.stream.url.search).toBe('?project_id=P&project_id=Q&project_id=R&age=60000');
    expect(world.stream.headers.get('Last-Event-ID')).toBe(IDS);
    await greet(['P', 'Q', 'R'], `project:Q@1,project:R@1,${IDS}`, {
      resumed: ['project:P', 'project:Q', 'user:U'],
    });
    expect(['P', 'Q', 'R'].map(connection.status)).toEqual(['live', 'live', 'live']);
    expect(stale()).toEqual(['Q', 'R']);
    release();
    await wait(50);
    expect(world.stream.url.search).toBe('?project_id=P&project_id=R');
  });

  it('reports a project that is refused', async () => {
    const connection = await startBlocked();
    connection.open('Q');
    await wait(50);
    await greet();
    world.stream.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'Q' });
    await pass();
    expect([connection.status('P'), connection.status('Q')]).toEqual(['live', 'forbidden']);
    connection.open('R');
    await wait(50);
    expect(world.stream.url.searchParams.getAll('project_id')).toEqual(['P', 'R']);
  });

  it('takes up a new token before the old one expires, without a reset', async () => {
    const connection = await startBlocked();
    token = 'T2';
    world.stream.frame({ type: 'token_expiring', in: 60 }, IDS);
    await wait(0);
    expect(world.stream.headers.get('Authorization')).toBe('Bearer T2');
    expect(world.stream.headers.get('Last-Event-ID')).toBe(IDS);
    await greet();
    expect(connection.status('P')).toBe('live');
    expect(heard).toEqual([]);
  });

  it.each([
    [4401, 'connecting'],
    [4403, 'connecting'],
    [1012, 'connecting'],
    [1013, 'degraded'],
  ])('that ends with code %i is treated as a closed socket', async (code, status) => {
    const connection = await startBlocked();
    await wait(10_000);
    world.stream.frame({ type: 'close', code, reason: 'why' }, IDS);
    await pass();
    expect(connection.status()).toBe(status);
    expect(connection.info().lastError).toBe(`closed with ${code} why`);
    await wait(2 * SECOND_MS);
    expect(world.streams).toHaveLength(2);
  });

  it.each([
    [
      'is cut off',
      (): void => {
        world.stream.end();
      },
    ],
    [
      'fails',
      (): void => {
        world.stream.lose();
      },
    ],
    [
      'has a malformed frame',
      (): void => {
        world.stream.send('data: {"type"\n\n');
      },
    ],
  ])('that %s is resumed', async (_, harm) => {
    await startBlocked();
    harm();
    await pass();
    await wait(2 * SECOND_MS);
    expect(world.stream.headers.get('Last-Event-ID')).toBe('user:U@1,project:P@1');
    await greet();
    expect(heard).toEqual([]);
  });

  it('is alive while comments come', async () => {
    const connection = await startBlocked();
    for (let seconds = 0; seconds < 120; seconds += 15) {
      await wait(15_000);
      world.stream.send(':\n\n');
      await pass();
    }
    expect(connection.status()).toBe('live');
    expect(world.streams).toHaveLength(1);
  });

  it('that is silent is opened again, and its loss is noticed if that is not answered', async () => {
    const connection = await startBlocked();
    await wait(30_000);
    expect(world.streams).toHaveLength(2);
    await wait(10_000);
    expect(connection.info().lastError).toBe('no answer');
    await wait(2 * SECOND_MS);
    expect(world.streams).toHaveLength(3);
  });

  it('says that changes arrive again if the one before it said that they do not', async () => {
    const connection = await startBlocked();
    world.stream.frame({ type: 'status', live: false });
    await pass();
    expect(connection.status()).toBe('degraded');
    world.signal('visible');
    await wait(0);
    await greet();
    expect(connection.status()).toBe('live');
  });

  it('is closed with its connection', async () => {
    const connection = await startBlocked();
    connection.close();
    await pass();
    expect(world.stream.isAborted).toBe(true);
    expect(world.isListenedTo).toBe(false);
    await wait(3_600_000);
    expect([world.sockets.length, world.streams.length]).toEqual([2, 1]);
  });
});

describe('a refused stream', () => {
  it.each([
    [401, 'unauthorized', 'T2'],
    [503, 'unavailable', 'T'],
  ])('with status %i is what it is on a socket', async (status, code, next) => {
    const getToken = vi.fn(({ refresh }: { refresh: boolean }) => (refresh ? 'T2' : 'T'));
    const connection = await start({ sse: true, getToken });
    world.stream.refuse(status, JSON.stringify({ error: { code, message: 'why' } }));
    await pass();
    expect(connection.info().lastError).toContain(`${code}: why`);
    await wait(SECOND_MS);
    expect(world.stream.headers.get('Authorization')).toBe(`Bearer ${next}`);
  });

  it('is refused for a project only by a gateway', async () => {
    const connection = await start({ sse: true });
    world.stream.refuse(403, '<h1>blocked by your administrator</h1>');
    await pass();
    expect([connection.status('P'), connection.info().lastError]).toEqual([
      'degraded',
      'closed with 1006 HTTP 403',
    ]);
    await wait(SECOND_MS);
    const error = { code: 'forbidden', message: 'why' };
    world.stream.refuse(403, JSON.stringify({ error }));
    await pass();
    expect(connection.status('P')).toBe('forbidden');
  });

  it('may be one that is not a stream at all', async () => {
    const connection = await start({ sse: true });
    world.stream.open('text/html');
    await pass();
    expect(connection.status()).toBe('degraded');
  });
});

describe('a WebSocket', () => {
  it('is tried again soon, then every five minutes, and used once it opens', async () => {
    const connection = await startBlocked();
    await wait(10_000);
    expect(world.sockets).toHaveLength(3);
    expect(world.socket.url.search).toBe('');
    world.socket.end(1006);
    for (let seconds = 0; seconds < 300; seconds += 15) {
      expect([world.sockets.length, world.streams.length]).toEqual([3, 1]);
      world.stream.send(':\n\n');
      await wait(15_000);
    }
    expect([world.sockets.length, world.streams.length]).toEqual([4, 1]);
    world.socket.connected([]);
    await pass();
    expect(world.stream.isAborted).toBe(true);
    expect(world.socket.isClosed).toBe(true);
    await wait(500);
    expect(world.sockets).toHaveLength(5);
    world.socket.connected(['P']);
    expect(connection.status('P')).toBe('live');
    expect(heard).toEqual([]);
    expect(world.openSockets).toHaveLength(1);
  });

  it('is tried at once on another network', async () => {
    await startBlocked();
    world.signal('online');
    await pass();
    expect(world.sockets).toHaveLength(3);
    world.socket.connected([]);
    await wait(500);
    expect(world.sockets).toHaveLength(4);
  });
});
