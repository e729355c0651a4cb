import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection, type NeverstaleEvent } from '../src/index.js';
import { optionsIn, pass, World } from './world.js';

let world: World;

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Hears what nobody catches; gives it, once. */
function hearUncaught(): () => unknown[] {
  const failures: unknown[] = [];
  const keep = (error: unknown): void => void failures.push(error);
  process.on('uncaughtException', keep).on('unhandledRejection', keep);
  return () => {
    process.off('uncaughtException', keep).off('unhandledRejection', keep);
    return failures;
  };
}

describe('the socket', () => {
  it('is opened with the token beside the subprotocol', async () => {
    createConnection(optionsIn(world, { projectId: 'P', cursors: { 'project:P': 'p1' } }));
    await pass();
    expect(world.socket.protocols).toEqual(['neverstale.v1', 'bearer.T']);
    expect(world.socket.url.href).toBe(
      'wss://live.example.com/api/v1/messages/ws?project_id=P&since=p1&age=60000',
    );
  });

  it("may be on the page's own host", async () => {
    createConnection(optionsIn(world, { url: '/api/v1/messages/ws' }));
    await pass();
    expect(world.socket.url.href).toBe('wss://app.example.com/api/v1/messages/ws?age=60000');
  });

  it('is not opened for what is closed in the same tick', async () => {
    const getToken = vi.fn(() => 'T');
    const connection = createConnection(optionsIn(world, { getToken }));
    connection.open('P');
    connection.close();
    await pass();
    expect(getToken).not.toHaveBeenCalled();
    expect(world.sockets).toEqual([]);
    expect(world.isListenedTo).toBe(false);
  });

  it('is one at a time, and the one that was let go is not heard any more', async () => {
    const heard: NeverstaleEvent[] = [];
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.subscribe((event) => heard.push(event));
    await pass();
    const first = world.socket;
    first.connected(['P']);
    await pass(30_000);
    await pass(10_000);
    expect(first.isClosed).toBe(true);
    await pass(1_000);
    expect(world.openSockets).toHaveLength(1);
    world.socket.connected(['P']);
    heard.length = 0;
    first.change('P', 7);
    first.end(1006);
    await pass(5_000);
    expect(heard).toEqual([]);
    expect(world.sockets).toHaveLength(2);
    expect(connection.status('P')).toBe('live');
    expect(connection.cursors()['project:P']).toBe('project:P@1');
  });

  it('that cannot be opened is a failed try', async () => {
    const open = world.openSocket.bind(world);
    world.openSocket = () => {
      throw new Error('not a token');
    };
    const failures = hearUncaught();
    const connection = createConnection(optionsIn(world));
    await pass(10_000);
    expect(failures()).toEqual([new Error('not a token')]);
    expect(connection.status()).toBe('degraded');
    world.openSocket = open;
    await pass(500);
    expect(world.sockets).toHaveLength(1);
  });

  it('is closed for good by a listener, too', async () => {
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.subscribe(() => {
      connection.close();
    });
    await pass();
    world.socket.connected(['P']);
    expect(world.openSockets).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is closed for good by close', async () => {
    const heard: NeverstaleEvent[] = [];
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.subscribe((event) => heard.push(event));
    await pass();
    world.socket.connected(['P']);
    heard.length = 0;
    connection.close();
    world.socket.change('P', 7);
    connection.open('Q');
    connection.close();
    await pass(60_000);
    expect(world.sockets).toHaveLength(1);
    expect(world.openSockets).toEqual([]);
    expect(heard).toEqual([]);
    expect(connection.status()).toBe('offline');
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('projects', () => {
  it('are heard until the last of their users has left', async () => {
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    await pass();
    world.socket.connected(['P']);
    const leaves = [connection.open('Q'), connection.open('Q')];
    await pass();
    leaves[0]?.();
    leaves[0]?.();
    await pass();
    expect(world.socket.sent).toEqual([{ type: 'subscribe', project_id: 'Q', age: 60_000 }]);
    leaves[1]?.();
    await pass();
    expect(world.socket.sent.at(-1)).toEqual({ type: 'unsubscribe', project_id: 'Q' });
  });

  it('that are left and opened again in one tick are not left', async () => {
    const connection = createConnection(optionsIn(world));
    const leave = connection.open('P');
    await pass();
    world.socket.connected(['P']);
    leave();
    connection.open('P');
    await pass();
    expect(world.socket.sent).toEqual([]);
  });
});

describe('a terminal close', () => {
  it('is not tried again by one more user of the same project', async () => {
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    await pass();
    world.socket.end(4400);
    connection.open('P');
    await pass(60_000);
    expect(world.sockets).toHaveLength(1);
  });
});

describe('tokens', () => {
  it('are asked for with refresh after 4401', async () => {
    const getToken = vi.fn(({ refresh }: { refresh: boolean }) => (refresh ? 'new' : 'old'));
    createConnection(optionsIn(world, { getToken }));
    await pass();
    world.socket.end(4401);
    await pass();
    expect(world.socket.protocols).toContain('bearer.new');
  });

  it('that fail to come are asked for again', async () => {
    const getToken = vi
      .fn<() => Promise<string>>()
      .mockRejectedValueOnce(new Error('no session'))
      .mockResolvedValue('T');
    const connection = createConnection(optionsIn(world, { getToken }));
    await pass();
    expect(world.warnings).toEqual(['no token: Error: no session']);
    expect(connection.status()).toBe('degraded');
    await pass(500);
    expect(world.sockets).toHaveLength(1);
  });
});

describe('the world around', () => {
  it('coming back into view brings a new try at once', async () => {
    world.chance = 0.9;
    createConnection(optionsIn(world));
    await pass();
    world.socket.end(1006);
    world.signal('visible');
    await pass();
    expect(world.sockets).toHaveLength(2);
  });

  it('without a network from the start is offline', () => {
    world.hasNetwork = false;
    const connection = createConnection(optionsIn(world));
    expect(connection.status()).toBe('offline');
    world.signal('online');
    expect(connection.status()).toBe('connecting');
    world.signal('offline');
    expect(connection.status()).toBe('offline');
  });
});

describe('listeners', () => {
  it("hear of each status, and one's failure is not the others'", async () => {
    const failures = hearUncaught();
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    const heard: string[] = [];
    connection.subscribe(() => {
      throw new Error('mine');
    });
    const stop = connection.onStatus(() => heard.push(connection.status('P')));
    connection.subscribe((event) => heard.push(event.type));
    await pass();
    world.socket.connected(['P']);
    expect(heard).toEqual(['connecting', 'connecting', 'stale', 'stale', 'live']);
    stop();
    world.socket.end(1006);
    expect(heard).toHaveLength(5);
    await pass();
    expect(failures()).toEqual([new Error('mine'), new Error('mine')]);
  });
});
