import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection, UnauthorizedError, type NeverstaleEvent } from '../src/index.js';
import { hearUncaught, optionsIn, pass, World } from './world.js';

let world: World;

beforeEach(() => {
  vi.useFakeTimers();
  world = new World();
});

afterEach(() => {
  vi.useRealTimers();
});

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

  it('that cannot be opened is a failed try, and warns once', async () => {
    const open = world.openSocket.bind(world);
    world.openSocket = () => {
      throw new Error('blocked');
    };
    const failures = hearUncaught();
    const connection = createConnection(optionsIn(world));
    await pass();
    const warning = 'cannot open wss://live.example.com/api/v1/messages/ws: Error: blocked';
    expect(connection.info().lastError).toBe(warning);
    expect(connection.status()).toBe('degraded');
    await pass(60_000);
    expect(world.warnings).toEqual([warning]);
    expect(failures()).toEqual([]);
    world.openSocket = open;
    await pass(15_000);
    expect(world.sockets).toHaveLength(1);
  });

  it('that fails to send is lost, and another resumes', async () => {
    const failures = hearUncaught();
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    await pass();
    world.socket.connected(['P']);
    world.socket.send = () => {
      throw new Error('broken pipe');
    };
    connection.open('Q');
    await pass();
    expect(world.socket.isClosed).toBe(true);
    await pass(500);
    expect(world.socket.url.searchParams.getAll('since')).toEqual(['user:U@1', 'project:P@1']);
    world.socket.connected(['P']);
    expect(world.socket.sent).toMatchObject([{ type: 'subscribe', project_id: 'Q' }]);
    expect(failures()).toEqual([]);
  });

  it('that fails to close is let go all the same', async () => {
    const failures = hearUncaught();
    const connection = createConnection(optionsIn(world));
    await pass();
    const first = world.socket;
    first.close = () => {
      throw new Error('not open');
    };
    connection.reconnect();
    await pass();
    expect(world.sockets).toHaveLength(2);
    expect(failures()).toEqual([]);
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

  it('that fail to come are asked for again, and warn once', async () => {
    const getToken = vi
      .fn<(how: object) => Promise<string>>()
      .mockRejectedValueOnce(new Error('no session'))
      .mockRejectedValueOnce(new Error('no session'))
      .mockResolvedValue('T');
    const connection = createConnection(optionsIn(world, { getToken }));
    await pass();
    expect(connection.status()).toBe('degraded');
    expect(connection.info()).toMatchObject({
      lastError: 'no token: Error: no session',
      nextAttemptAt: Date.now() + 500,
    });
    await pass(500 + 1_000);
    expect(world.warnings).toEqual(['no token: Error: no session']);
    expect(getToken.mock.calls).toEqual([
      [{ refresh: false }],
      [{ refresh: false }],
      [{ refresh: false }],
    ]);
    expect(world.sockets).toHaveLength(1);
  });

  it('may begin with Bearer', async () => {
    createConnection(optionsIn(world, { getToken: () => 'Bearer e.y-_J' }));
    await pass();
    expect(world.socket.protocols).toEqual(['neverstale.v1', 'bearer.e.y-_J']);
  });

  it.each(['', 'ey,J', 'ey J', 'ey=', 'Basic ey', 'ey\n', 'éy', '{"token":"ey"}'])(
    'that no subprotocol can hold (%j) are refused, and not printed',
    async (token) => {
      const connection = createConnection(optionsIn(world, { getToken: () => token }));
      await pass();
      expect(world.sockets).toEqual([]);
      expect(world.warnings).toEqual(['no token: Error: getToken must return a JWT or null']);
      expect(connection.status()).toBe('degraded');
    },
  );

  it.each([
    ['null', () => null],
    ['undefined', () => undefined],
    ['a promise of null', () => Promise.resolve(null)],
    [
      'an UnauthorizedError',
      () => {
        throw new UnauthorizedError();
      },
    ],
    ['a promise that it rejects', () => Promise.reject(new UnauthorizedError('signed out'))],
  ])('when nobody is signed in (%s): unauthorized, until reconnect', async (_, none) => {
    const failures = hearUncaught();
    const getToken = vi.fn<(how: object) => ReturnType<typeof none> | string>(none);
    const connection = createConnection(optionsIn(world, { projectId: 'P', getToken }));
    const statuses: string[] = [];
    connection.onStatus(() => statuses.push(connection.status('P')));
    await pass();
    expect(statuses.at(-1)).toBe('unauthorized');
    world.signal('online');
    world.signal('visible');
    connection.open('Q');
    connection.connect();
    await pass(120_000);
    expect(getToken).toHaveBeenCalledOnce();
    getToken.mockReturnValue('T');
    connection.reconnect();
    expect(getToken).toHaveBeenLastCalledWith({ refresh: true });
    await pass();
    world.socket.connected(['P']);
    expect(connection.status()).toBe('live');
    expect(world.warnings).toEqual([]);
    expect(failures()).toEqual([]);
  });
});

describe('an app', () => {
  it('disconnects and connects: projects, cursors and listeners are kept', async () => {
    const heard: NeverstaleEvent[] = [];
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.subscribe((event) => heard.push(event));
    await pass();
    world.socket.connected(['P']);
    heard.length = 0;
    await pass(1_000);
    connection.disconnect();
    expect(world.openSockets).toEqual([]);
    expect(connection.status()).toBe('offline');
    expect(connection.info()).toEqual({
      since: Date.now(),
      lastError: undefined,
      nextAttemptAt: undefined,
    });
    expect(vi.getTimerCount()).toBe(0);
    const leave = connection.open('Q');
    world.signal('visible');
    world.signal('online');
    await pass(60_000);
    expect(world.sockets).toHaveLength(1);
    expect(connection.projects()).toEqual(['P', 'Q']);
    leave();
    connection.connect();
    await pass();
    expect(world.socket.url.searchParams.getAll('since')).toEqual(['user:U@1', 'project:P@1']);
    world.socket.connected(['P']);
    world.socket.change('P', 7);
    expect(heard).toHaveLength(1);
  });

  it('disconnects in a listener: nothing is left', async () => {
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.subscribe(connection.disconnect);
    await pass();
    world.socket.connected(['P']);
    await pass(60_000);
    expect(world.openSockets).toEqual([]);
    expect(world.sockets).toHaveLength(1);
    connection.connect();
    await pass();
    expect(world.openSockets).toHaveLength(1);
  });

  it('that has closed the connection cannot start it again', async () => {
    const connection = createConnection(optionsIn(world, { projectId: 'P' }));
    connection.close();
    connection.connect();
    connection.reconnect();
    await pass(60_000);
    expect(world.sockets).toEqual([]);
    expect(connection.status()).toBe('offline');
  });

  it('sees since when a status is, in debug all that happens, and never a token', async () => {
    const logged: string[] = [];
    vi.spyOn(console, 'debug').mockImplementation((...what) => logged.push(JSON.stringify(what)));
    const getToken = (): string => 's3cret';
    const connection = createConnection(
      optionsIn(world, { projectId: 'P', getToken, debug: true }),
    );
    const since = Date.now();
    expect(connection.info().since).toBe(since);
    await pass(1_000);
    world.socket.connected(['P']);
    await pass(1_000);
    world.socket.change('P', 7);
    world.socket.frame({ type: 'token_expiring', in: 60 });
    await pass();
    expect(connection.info().since).toBe(since + 1_000);
    expect(world.socket.sent).toContainEqual({ type: 'auth', token: 's3cret' });
    const text = logged.join('\n');
    for (const part of ['"ask_token"', '"open"', 'connected', '"emit"', '"auth"']) {
      expect(text).toContain(part);
    }
    expect(text).not.toContain('s3cret');
    vi.restoreAllMocks();
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

  it('without a network is offline, and no token is asked for', async () => {
    world.hasNetwork = false;
    const getToken = vi.fn(() => 'T');
    const connection = createConnection(optionsIn(world, { projectId: 'P', getToken }));
    await pass(60_000);
    expect(connection.status()).toBe('offline');
    expect(getToken).not.toHaveBeenCalled();
    world.signal('online');
    expect(connection.status()).toBe('connecting');
    world.signal('offline');
    expect(connection.status()).toBe('offline');
    await pass(60_000);
    expect(getToken).toHaveBeenCalledOnce();
    expect(world.sockets).toEqual([]);
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
    expect(failures()).toEqual([]);
    expect(world.warnings).toEqual(['a listener failed']);
  });
});
