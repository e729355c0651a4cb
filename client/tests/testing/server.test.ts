import { readFileSync } from 'node:fs';

import { QueryClient, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection, type Connection, type NeverstaleEvent } from '../../src/index.js';
import { connectQueryClient } from '../../src/tanstack/index.js';
import { createTestServer, type TestServer } from '../../src/testing/index.js';
import { seeded } from '../seeded.js';

let server: TestServer;
let connection: Connection;
let events: NeverstaleEvent[];

function connect(getToken: () => string = () => 'T'): void {
  const { url, environment } = server;
  connection = createConnection({ url, environment, getToken, projectId: 'P' });
  connection.subscribe((event) => events.push(event));
}

async function until(check: () => void): Promise<void> {
  await vi.waitFor(check, { interval: 5, timeout: 5_000 });
}

async function live(projectId = 'P'): Promise<void> {
  await until(() => {
    expect(connection.status(projectId)).toBe('live');
  });
  events.length = 0;
}

/** The events so far, in short. */
function seen(): string[] {
  return events.map((event) =>
    event.type === 'change'
      ? `${event.resource} ${event.id} ${event.action}`
      : `${event.projectId ?? 'everything'}: ${event.reason}`,
  );
}

async function expectSeen(...expected: string[]): Promise<void> {
  await until(() => {
    expect(seen()).toEqual(expected);
  });
}

const TASK = { resource: 'task', id: '1', projectId: 'P' };

describe.each(['real', 'fake'] as const)('with %s timers', (timers) => {
  beforeEach(() => {
    if (timers === 'fake') vi.useFakeTimers();
    server = createTestServer({ userId: 'U' });
    events = [];
  });

  afterEach(() => {
    connection.close();
    vi.useRealTimers();
  });

  it('a client connects with its token and its project', async () => {
    connect();
    await live();
    expect(server.clients()).toEqual([{ token: 'T', projectIds: ['P'] }]);
    connection.close();
    expect(server.clients()).toEqual([]);
  });

  it('a change arrives where its project is open', async () => {
    connect();
    await live();
    server.change({ ...TASK, projectId: 'Q' });
    server.change(TASK);
    server.change({ ...TASK, id: '2', action: 'DELETE' });
    server.change({ resource: 'note', id: '3', projectId: null });
    await expectSeen('task 1 UPDATE', 'task 2 DELETE', 'note 3 UPDATE');
  });

  it('each changed row arrives once at a client that was away', async () => {
    connect();
    await live();
    server.stop();
    server.change(TASK);
    server.change({ ...TASK, id: '2' });
    server.change(TASK);
    await until(() => {
      expect(connection.status()).toBe('degraded');
    });
    expect(seen()).toEqual([]);
    server.start();
    await expectSeen('task 2 UPDATE', 'task 1 UPDATE');
  });

  it('a project that is opened later is followed, and not after it is released', async () => {
    connect();
    await live();
    const release = connection.open('Q');
    await live('Q');
    server.change({ ...TASK, projectId: 'Q' });
    await expectSeen('task 1 UPDATE');
    release();
    await until(() => {
      expect(server.clients()[0]?.projectIds).toEqual(['P']);
    });
    server.change({ ...TASK, id: '2', projectId: 'Q' });
    server.change({ ...TASK, id: '3' });
    await expectSeen('task 1 UPDATE', 'task 3 UPDATE');
  });

  it('a reset concerns everything or one project', async () => {
    connect();
    await live();
    server.reset();
    server.reset('truncate');
    server.reset('bulk_change', 'P');
    await expectSeen('everything: gap', 'everything: truncate', 'P: bulk_change');
    server.change(TASK);
    await until(() => {
      expect(seen()).toContain('task 1 UPDATE');
    });
  });

  it('a client that was away during a reset gets it when it is back', async () => {
    connect();
    await live();
    server.stop();
    server.reset('log_lost');
    server.start();
    await live();
    server.close();
    await live();
    expect(events).toEqual([]);
  });

  it('a closed client comes back, with a new token after 4401', async () => {
    const getToken = vi.fn(() => 'T');
    connect(getToken);
    await live();
    server.close();
    await until(() => {
      expect(getToken).toHaveBeenCalledTimes(2);
    });
    expect(getToken).toHaveBeenLastCalledWith({ refresh: false });
    await live();
    server.close(4401);
    await until(() => {
      expect(getToken).toHaveBeenLastCalledWith({ refresh: true });
    });
    await live();
  });

  it('a refused project is forbidden until it is allowed, then everything of it is stale', async () => {
    connect();
    connection.open('Q');
    await live();
    await live('Q');
    for (const projectId of ['P', 'Q']) server.refuse(projectId);
    await expectSeen('P: revoked', 'Q: revoked');
    server.close();
    await until(() => {
      expect(server.clients()).toHaveLength(1);
    });
    expect([connection.status('P'), connection.status('Q')]).toEqual(['forbidden', 'forbidden']);
    server.allow('P');
    await live();
    expect(connection.status('Q')).toBe('forbidden');
  });

  it('a project can be refused from the start', async () => {
    server.refuse('P');
    connect();
    connection.open('Q');
    await live('Q');
    expect(connection.status('P')).toBe('forbidden');
    connection.open('R');
    server.refuse('R');
    await until(() => {
      expect(connection.status('R')).toBe('forbidden');
    });
  });

  it('there may be no network, and changes that arrive late', async () => {
    connect();
    await live();
    server.setOnline(false);
    expect(connection.status()).toBe('offline');
    server.change(TASK);
    await until(() => {
      expect(server.clients()).toEqual([]);
    });
    server.setOnline(true);
    await expectSeen('task 1 UPDATE');
    server.setLive(false);
    await until(() => {
      expect(connection.status()).toBe('degraded');
    });
    server.close();
    await until(() => {
      expect(server.clients()).toHaveLength(1);
      expect(connection.status()).toBe('degraded');
    });
    server.setLive(true);
    await live();
  });

  it('the page is hidden, shown and focused', () => {
    connect();
    const signals: string[] = [];
    server.environment.onSignal((signal) => signals.push(signal));
    server.setVisible(false);
    expect(server.environment.isVisible()).toBe(false);
    server.setVisible(true);
    server.focus();
    expect(server.environment.isVisible()).toBe(true);
    expect(signals).toEqual(['visible', 'focus']);
  });
});

describe('the protocol', () => {
  const VECTORS = JSON.parse(
    readFileSync(new URL('../../../tests/vectors/frames.json', import.meta.url), 'utf8'),
  ) as { name: string; text: string }[];

  /** The type of each value, by its name. */
  function shape(frame: unknown): unknown {
    if (typeof frame !== 'object' || frame === null) return typeof frame;
    if (Array.isArray(frame)) return frame.slice(0, 1).map(shape);
    return Object.fromEntries(
      Object.entries(frame)
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([name, value]) => [name, name === 'cursors' ? 'cursors' : shape(value)]),
    );
  }

  const documented = new Set(VECTORS.map(({ text }) => JSON.stringify(shape(JSON.parse(text)))));

  it('each frame that the server sends has the shape of a documented one', async () => {
    server = createTestServer();
    const texts: string[] = [];
    const protocols = ['neverstale.v1', 'bearer.T'];
    const socket = server.environment.openSocket(`${server.url}?project_id=P&age=1`, protocols, {
      text: (text) => texts.push(text),
      closed: () => undefined,
    });
    await Promise.resolve();
    server.refuse('R');
    for (const message of [
      { type: 'ping' },
      { type: 'auth', token: 'T' },
      { type: 'subscribe', project_id: 'Q', age: 1 },
      { type: 'subscribe', project_id: 'R', age: 1 },
      { type: 'unsubscribe', project_id: 'Q' },
    ]) {
      socket.send(JSON.stringify(message));
    }
    server.change(TASK);
    server.reset();
    server.reset('bulk_change', 'P');
    server.setLive(false);
    server.refuse('P');
    server.allow('P');
    await vi.waitFor(() => {
      expect(texts.length).toBeGreaterThanOrEqual(12);
    });
    const undocumented = texts.filter(
      (text) => !documented.has(JSON.stringify(shape(JSON.parse(text)))),
    );
    expect(undocumented.filter((text) => !text.includes('pong'))).toEqual([]);
    const types = new Set(texts.map((text) => (JSON.parse(text) as { type: string }).type));
    expect([...types].sort()).toEqual([
      'auth_ok',
      'cache_invalidate',
      'connected',
      'error',
      'pong',
      'reconnect',
      'status',
      'subscribed',
      'unsubscribed',
    ]);
  });

  it.each([
    ['without the subprotocol', ['bearer.T'], 4400],
    ['without a token', ['neverstale.v1'], 4401],
  ])('a socket %s is closed', async (_, protocols, code) => {
    const closed = vi.fn();
    const { environment, url } = createTestServer();
    environment.openSocket(url, protocols, { text: () => undefined, closed });
    await vi.waitFor(() => {
      expect(closed).toHaveBeenCalledExactlyOnceWith(code);
    });
  });
});

it('no random use of the server leaves a query stale', { timeout: 60_000 }, async () => {
  vi.useFakeTimers();
  for (let seed = 1; seed <= 100; seed++) {
    const random = seeded(seed);
    server = createTestServer();
    events = [];
    const truth = new Map<string, number>();
    const ids = ['1', '2', '3'];
    const client = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
    connect();
    const disconnect = connectQueryClient(connection, client);
    const hides = ids.map((id) =>
      new QueryObserver(client, {
        queryKey: ['tasks', 'detail', id],
        queryFn: () => Promise.resolve(truth.get(id) ?? 0),
      }).subscribe(() => undefined),
    );
    const steps = [
      () => {
        const id = ids[Math.floor(random() * ids.length)] ?? '';
        truth.set(id, (truth.get(id) ?? 0) + 1);
        server.change({ ...TASK, id });
      },
      () => {
        server.close(random() < 0.5 ? 1006 : 1012);
      },
      () => {
        server.reset();
      },
      () => {
        server.reset('bulk_change', 'P');
      },
      () => {
        server.setOnline(random() < 0.5);
      },
      () => {
        if (random() < 0.5) server.stop();
        else server.start();
      },
    ];
    for (let step = 0; step < 60; step++) {
      steps[Math.floor(random() * steps.length)]?.();
      await vi.advanceTimersByTimeAsync(Math.floor(random() * 100));
    }
    server.start();
    server.setOnline(true);
    await vi.advanceTimersByTimeAsync(5_000);
    const shown = ids.map((id) => client.getQueryData(['tasks', 'detail', id]));
    expect(shown, `seed ${String(seed)}`).toEqual(ids.map((id) => truth.get(id) ?? 0));
    for (const hide of hides) hide();
    disconnect();
    connection.close();
    client.clear();
  }
  vi.useRealTimers();
});
