import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Connection, ConnectionOptions, Cursors, NeverstaleEvent } from '../../src/index.js';
import { createSharedConnection } from '../../src/tabs/index.js';
import { optionsIn, pass, World } from '../world.js';
import { Hub, type FakeTab } from './hub.js';

const CHANNEL = 'neverstale 2 wss://live.example.com/api/v1/messages/ws U';

interface OpenTab {
  readonly world: World;
  readonly tab: FakeTab;
  readonly connection: Connection;
  readonly heard: NeverstaleEvent[];
}

let hub: Hub;
let worlds: World[];

beforeEach(() => {
  vi.useFakeTimers();
  hub = new Hub();
  worlds = [];
});

afterEach(() => {
  vi.useRealTimers();
});

/** Opens a tab that holds nothing, or what belongs to these cursors. */
async function openTab(
  id: string,
  projectId: string,
  cursors: Cursors = {},
  more: Partial<ConnectionOptions> = {},
): Promise<OpenTab> {
  const world = new World();
  worlds.push(world);
  const tab = hub.tab(id);
  const connection = createSharedConnection({
    ...optionsIn(world, { projectId, cursors, ...more }),
    userId: 'U',
    tabs: tab,
  });
  const heard: NeverstaleEvent[] = [];
  connection.subscribe((event) => heard.push(event));
  await pass(10);
  return { world, tab, connection, heard };
}

/** Two tabs, the first of which holds the socket. */
async function openTwo(): Promise<[OpenTab, OpenTab]> {
  const first = await openTab('one', 'P');
  first.world.socket.connected(['P'], { resumed: [] });
  await pass(5_000);
  const second = await openTab('two', 'P');
  first.heard.length = second.heard.length = 0;
  return [first, second];
}

function openSockets(): number {
  return worlds.reduce((count, world) => count + world.openSockets.length, 0);
}

function stale(heard: NeverstaleEvent[]): (number | 'all')[] {
  return heard.flatMap((event) => (event.type === 'stale' ? [event.fetchedBefore ?? 'all'] : []));
}

function changes(heard: NeverstaleEvent[]): string[] {
  return heard.flatMap((event) => (event.type === 'change' ? [event.id] : []));
}

describe('tabs of one user', () => {
  it('share one socket: all hear, each in order, with the cursors before', async () => {
    const [first, second] = await openTwo();
    first.world.socket.change('P', 7, 'task', 'A');
    first.world.socket.change('P', 8, 'task', 'B');
    await pass(10);
    expect(openSockets()).toBe(1);
    expect(changes(first.heard)).toEqual(['A', 'B']);
    expect(second.heard).toEqual(first.heard);
    expect(second.heard[1]?.before).toMatchObject({ 'project:P': 'project:P@7' });
    expect(second.connection.cursors()).toEqual(first.connection.cursors());
  });

  it('hear what any of them has open, until the last has left it', async () => {
    const [first, second] = await openTwo();
    const leave = second.connection.open('Q');
    await pass(10);
    expect(first.world.socket.sent).toEqual([{ type: 'subscribe', project_id: 'Q', age: 60_000 }]);
    expect(second.connection.status('Q')).toBe('connecting');
    first.world.socket.frame({ type: 'subscribed', project_id: 'Q', cursor: 'q', resumed: true });
    await pass(10);
    expect(second.connection.status('Q')).toBe('live');
    leave();
    await pass(10);
    expect(first.world.socket.sent.at(-1)).toEqual({ type: 'unsubscribe', project_id: 'Q' });
    second.connection.open('R');
    await pass(10);
    second.connection.close();
    await pass(10);
    expect(first.world.socket.sent.at(-1)).toEqual({ type: 'unsubscribe', project_id: 'R' });
    first.world.socket.change('P', 7);
    expect(changes(first.heard)).toEqual(['T']);
  });

  it('share their status', async () => {
    const [first, second] = await openTwo();
    const told = vi.fn();
    second.connection.onStatus(told);
    expect(second.connection.status()).toBe('live');
    first.world.socket.frame({ type: 'status', live: false });
    await pass(10);
    first.world.socket.change('P', 7);
    await pass(10);
    expect(told).toHaveBeenCalledOnce();
    expect(second.connection.status('P')).toBe('degraded');
  });

  it("do not share with another user's", async () => {
    await openTwo();
    const world = new World();
    worlds.push(world);
    const options = { ...optionsIn(world), userId: 'other', tabs: hub.tab('three') };
    createSharedConnection(options);
    await pass(10);
    expect(openSockets()).toBe(2);
  });

  it('do not share where the browser can not', async () => {
    const world = new World();
    createSharedConnection({ ...optionsIn(world), userId: 'U' });
    await pass(10);
    expect(world.openSockets).toHaveLength(1);
  });
});

describe('an app in one of the tabs', () => {
  it('sees in each of them why there is no socket', async () => {
    const [first, second] = await openTwo();
    first.world.socket.end(4408, 'too slow');
    await pass(10);
    expect(second.connection.status()).toBe('degraded');
    expect(second.connection.info()).toEqual(first.connection.info());
    expect(second.connection.info()).toMatchObject({ lastError: 'closed with 4408 too slow' });
    expect(second.connection.info().nextAttemptAt).toBeGreaterThan(Date.now());
    expect(second.connection.projects()).toEqual(['P']);
  });

  it('sees in each of them that nobody is signed in, and reconnects from any', async () => {
    const getToken = vi.fn<() => string | null>(() => null);
    const first = await openTab('one', 'P', {}, { getToken });
    const second = await openTab('two', 'Q');
    expect(first.connection.status('P')).toBe('unauthorized');
    expect(second.connection.status('Q')).toBe('unauthorized');
    expect(second.connection.status()).toBe('unauthorized');
    second.connection.connect();
    await pass(60_000);
    expect(getToken).toHaveBeenCalledOnce();
    getToken.mockReturnValue('T');
    second.connection.reconnect();
    await pass(10);
    expect(getToken).toHaveBeenLastCalledWith({ refresh: true });
    first.world.socket.connected(['P']);
    await pass(10);
    expect(second.connection.status()).toBe('live');
    expect(openSockets()).toBe(1);
  });

  it.each([
    ['follows', 1],
    ['holds the socket', 0],
  ] as const)('disconnects only that tab, even if it %s', async (_, which) => {
    const tabs = await openTwo();
    const out = tabs[which];
    const other = tabs[which === 0 ? 1 : 0];
    out.connection.open('R');
    await pass(10);
    out.connection.disconnect();
    await pass(10);
    expect(out.connection.status()).toBe('offline');
    expect(out.connection.status('P')).toBe('offline');
    if (which === 0) other.world.socket.connected(['P']);
    await pass(10);
    expect(other.connection.status('P')).toBe('live');
    out.world.signal('visible');
    const { socket } = other.world;
    socket.change('P', 7);
    await pass(10_000);
    expect(openSockets()).toBe(1);
    expect(out.heard.filter(({ type }) => type === 'change')).toEqual([]);
    expect(changes(other.heard)).toEqual(['T']);
    out.connection.connect();
    await pass(10);
    expect(openSockets()).toBe(1);
    expect(changes(out.heard)).toEqual(['T']);
    expect(stale(out.heard)).toEqual([]);
    expect(out.connection.status('P')).toBe('live');
    expect(socket.sent.at(-1)).toMatchObject({ type: 'subscribe', project_id: 'R' });
  });

  it('reconnects what another tab holds', async () => {
    const [first, second] = await openTwo();
    second.connection.reconnect();
    await pass(10);
    expect(first.world.sockets).toHaveLength(2);
    expect(openSockets()).toBe(1);
    first.connection.reconnect();
    await pass(10);
    expect(first.world.sockets).toHaveLength(3);
    expect(second.world.sockets).toEqual([]);
  });

  it('closes all of them: nothing starts again', async () => {
    const [first, second] = await openTwo();
    second.connection.disconnect();
    second.connection.close();
    first.connection.close();
    second.connection.connect();
    first.connection.reconnect();
    await pass(10_000);
    expect(openSockets()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('has a socket in each where tabs cannot talk', async () => {
    const world = new World();
    const tabs = hub.tab('one');
    tabs.openChannel = () => {
      throw new DOMException('storage is blocked', 'SecurityError');
    };
    createSharedConnection({ ...optionsIn(world), userId: 'U', tabs });
    await pass(10);
    expect(world.openSockets).toHaveLength(1);
    expect(world.warnings).toEqual(['tabs cannot share a connection']);
  });

  it('fails in a listener: the others are called', async () => {
    const [first, second] = await openTwo();
    const heard: string[] = [];
    second.connection.subscribe(() => {
      throw new Error('mine');
    });
    second.connection.subscribe((event) => heard.push(event.type));
    first.world.socket.change('P', 7);
    await pass(10);
    expect(heard).toEqual(['change']);
    expect(second.world.warnings).toEqual(['a listener failed']);
  });
});

describe('the socket is handed over', () => {
  it('when its tab is closed: another goes on from the same place', async () => {
    const [first, second] = await openTwo();
    const third = await openTab('three', 'Q');
    first.world.socket.change('P', 7);
    await pass(10);
    second.heard.length = third.heard.length = 0;
    const statuses: string[] = [];
    third.connection.onStatus(() => statuses.push(third.connection.status()));
    first.connection.close();
    await pass(10);
    expect(statuses).not.toContain('offline');
    expect(openSockets()).toBe(1);
    const { socket } = second.world;
    expect(socket.url.searchParams.getAll('since')).toContain('project:P@7');
    expect(second.connection.status()).toBe('connecting');
    socket.connected(['P']);
    socket.change('P', 8);
    await pass(10);
    expect(stale(second.heard)).toEqual([]);
    expect(changes(second.heard)).toEqual(['T']);
    expect(stale(third.heard)).toEqual([]);
    expect(changes(third.heard)).toEqual(['T']);
    expect(first.connection.status()).toBe('offline');
  });

  it('when its tab is about to be frozen, which follows once it is seen again', async () => {
    const [first, second] = await openTwo();
    first.tab.freeze();
    await pass(10);
    expect(first.world.openSockets).toEqual([]);
    second.world.socket.connected(['P']);
    second.world.socket.change('P', 7);
    await pass(10);
    expect(changes(first.heard)).toEqual([]);
    first.tab.isFrozen = false;
    first.world.signal('visible');
    await pass(10);
    expect(changes(first.heard)).toEqual(['T']);
    expect(stale(first.heard)).toEqual([]);
    expect(openSockets()).toBe(1);
  });

  it('when its tab does not answer', async () => {
    const [first, second] = await openTwo();
    first.tab.isFrozen = true;
    second.world.signal('visible');
    await pass(2_999);
    expect(second.world.sockets).toEqual([]);
    await pass(10);
    expect(second.world.openSockets).toHaveLength(1);
    await pass(10);
    expect(openSockets()).toBe(1);
    first.tab.isFrozen = false;
    await pass(4_000);
    expect(openSockets()).toBe(1);
  });

  it('and not to one that has closed', async () => {
    const [first, second] = await openTwo();
    second.connection.close();
    second.connection.close();
    first.connection.close();
    await pass(10_000);
    expect(openSockets()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('a tab that joins', () => {
  it('new: what it fetched since it was loaded is fresh, but for what has changed since', async () => {
    const [first] = await openTwo();
    await pass(5_000);
    first.world.socket.change('P', 7, 'task', 'before');
    await pass(2_000);
    const world = new World();
    first.world.socket.change('P', 8, 'task', 'after');
    const tab = hub.tab('three');
    const options = { ...optionsIn(world, { projectId: 'P' }), userId: 'U', tabs: tab };
    const connection = createSharedConnection(options);
    const heard: NeverstaleEvent[] = [];
    connection.subscribe((event) => heard.push(event));
    await pass(10);
    expect(stale(heard)).toEqual([world.loadedAt]);
    expect(changes(heard)).toEqual(['after']);
  });

  it('restored: it hears what it has missed', async () => {
    const [first] = await openTwo();
    const cursors = first.connection.cursors();
    first.world.socket.change('P', 7, 'task', 'A');
    first.world.socket.change('P', 8, 'task', 'B');
    const third = await openTab('three', 'P', cursors);
    expect(changes(third.heard)).toEqual(['A', 'B']);
    expect(stale(third.heard)).toEqual([]);
    const fourth = await openTab('four', 'P', first.connection.cursors());
    expect(fourth.heard).toEqual([]);
  });

  it('restored from who knows where: all that it had then is stale', async () => {
    await openTwo();
    await pass(5_000);
    const third = await openTab('three', 'P', { 'project:P': 'unknown' });
    expect(stale(third.heard)).toEqual([third.world.loadedAt]);
    expect(third.heard[0]?.before).toEqual({ 'project:P': 'unknown' });
  });

  it('loaded before the history begins: everything is stale', async () => {
    const world = new World();
    await pass(60_000);
    const [first] = await openTwo();
    const options = optionsIn(world, { projectId: 'P', cursors: { 'project:P': 'unknown' } });
    const late = createSharedConnection({ ...options, userId: 'U', tabs: hub.tab('three') });
    const heard: NeverstaleEvent[] = [];
    late.subscribe((event) => heard.push(event));
    await pass(10);
    expect(stale(heard)).toEqual(['all']);
    expect(first.heard).toEqual([]);
  });

  it('after more events than are kept: everything is stale', async () => {
    const [first] = await openTwo();
    const cursors = first.connection.cursors();
    const world = new World();
    await pass(5_000);
    for (let place = 0; place < 600; place++) first.world.socket.change('P', place);
    const options = optionsIn(world, { projectId: 'P', cursors });
    const late = createSharedConnection({ ...options, userId: 'U', tabs: hub.tab('three') });
    const heard: NeverstaleEvent[] = [];
    late.subscribe((event) => heard.push(event));
    await pass(10);
    expect(stale(heard)).toEqual(['all']);
  });

  it('new, but loaded together with the first: it hears how the first has begun', async () => {
    const world = new World();
    const first = await openTab('one', 'P');
    first.world.socket.connected(['P']);
    const options = optionsIn(world, { projectId: 'P' });
    const late = createSharedConnection({ ...options, userId: 'U', tabs: hub.tab('two') });
    const heard: NeverstaleEvent[] = [];
    late.subscribe((event) => heard.push(event));
    await pass(10);
    expect(heard).toEqual(first.heard);
    expect(stale(heard)).not.toContain('all');
  });

  it('two at once: the second hears how the first has begun', async () => {
    const first = openTab('one', 'P');
    const second = openTab('two', 'P');
    const [one, two] = await Promise.all([first, second]);
    one.world.socket.connected(['P']);
    await pass(10);
    expect(openSockets()).toBe(1);
    expect(stale(two.heard)).toEqual(stale(one.heard));
    expect(stale(two.heard)).not.toContain('all');
  });
});

describe('a tab that follows who leads no more', () => {
  /** A leader that hung has lost its socket to another tab, and welcomes the third all the same. */
  async function openThree(): Promise<[OpenTab, OpenTab]> {
    const [first, second] = await openTwo();
    const third = await openTab('three', 'P');
    first.tab.isFrozen = true;
    second.world.signal('visible');
    await pass(3_010);
    second.world.socket.connected(['P']);
    await pass(10);
    const late = hub.openChannel(CHANNEL, () => undefined);
    const cursors = third.connection.cursors();
    const statuses = { '': 'live', P: 'live' };
    const info = { since: 0 };
    late.post({
      is: 'welcome',
      tab: 'three',
      leader: 'one',
      next: 0,
      missed: [],
      cursors,
      statuses,
      info,
    });
    late.close();
    await pass(10);
    third.heard.length = 0;
    return [second, third];
  }

  it('follows who leads once that one says what changed', async () => {
    const [second, third] = await openThree();
    second.world.socket.change('P', 7, 'task', 'A');
    second.world.socket.change('P', 8, 'task', 'B');
    await pass(10);
    expect(changes(third.heard)).toEqual(['A', 'B']);
    second.world.socket.change('P', 9, 'task', 'C');
    await pass(10);
    expect(changes(third.heard)).toEqual(['A', 'B', 'C']);
    expect(stale(third.heard)).toEqual([]);
    expect(openSockets()).toBe(1);
  });

  it('follows who leads once that one says how it is', async () => {
    const [second, third] = await openThree();
    second.world.socket.frame({ type: 'status', live: false });
    await pass(10);
    expect(third.connection.status()).toBe('degraded');
    second.world.socket.change('P', 7);
    await pass(10);
    expect(changes(third.heard)).toEqual(['T']);
  });

  it('asks once, whatever it hears until it is answered', async () => {
    const [second, third] = await openThree();
    const joined: unknown[] = [];
    hub.openChannel(CHANNEL, (message) => {
      if ((message as { is: string }).is === 'join') joined.push(message);
    });
    for (let place = 7; place < 17; place++) second.world.socket.change('P', place);
    await pass(10);
    expect(joined).toHaveLength(1);
    expect(changes(third.heard)).toHaveLength(10);
  });
});

it('a broken chain makes everything stale', async () => {
  const [first, second] = await openTwo();
  hub.isDeaf = true;
  first.world.socket.change('P', 7, 'task', 'lost');
  hub.isDeaf = false;
  first.world.socket.change('P', 8, 'task', 'heard');
  await pass(10);
  expect(second.heard.map(({ type }) => type)).toEqual(['stale', 'change']);
  expect(stale(second.heard)).toEqual(['all']);
  expect(second.heard[0]?.before).toMatchObject({ 'project:P': 'project:P@1' });
  first.world.socket.change('P', 9, 'task', 'next');
  await pass(10);
  expect(second.heard).toHaveLength(3);
});
