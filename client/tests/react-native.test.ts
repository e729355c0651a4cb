import { QueryClient, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { createConnection, type Connection } from '../src/index.js';
import { reactNativeEnvironment } from '../src/react-native/index.js';
import { connectQueryClient } from '../src/tanstack/index.js';
import { change, connected } from './core/script.js';
import { pass } from './world.js';

/** Not there, or so incomplete that it cannot be used in every supported version. */
const MISSING = [
  'document',
  'location',
  'localStorage',
  'sessionStorage',
  'indexedDB',
  'BroadcastChannel',
  'crypto',
  'structuredClone',
  'URL',
  'Intl',
  'addEventListener',
];

/** React Native's `WebSocket`: no messages but text are of interest here. */
class NativeSocket {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static all: NativeSocket[] = [];
  readyState = 0;
  readonly sent: object[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: object) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    NativeSocket.all.push(this);
  }

  send(text: string): void {
    if (this.readyState === 0) throw new Error('INVALID_STATE_ERR');
    this.sent.push(JSON.parse(text) as object);
  }

  close(): void {
    this.readyState = 2;
  }

  frame(frame: object): void {
    this.readyState = 1;
    this.onmessage?.({ data: JSON.stringify(frame) });
  }

  /** The native side reports a lost connection as an error and a close without a code. */
  fail(): void {
    this.readyState = 3;
    this.onerror?.({});
    this.onclose?.({ code: 1006, reason: 'The Internet connection appears to be offline.' });
  }
}

/** `URLSearchParams` of the oldest supported version: its other methods throw. */
class NativeSearchParams {
  private readonly pairs: string[] = [];

  append(name: string, value: string): void {
    this.pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  }

  set(): never {
    throw new Error('not implemented');
  }

  toString(): string {
    return this.pairs.join('&');
  }
}

class FakeAppState {
  currentState: string | null = 'active';
  private readonly listeners = new Set<(state: string) => void>();

  addEventListener(_type: 'change', listener: (state: string) => void): { remove: () => void } {
    this.listeners.add(listener);
    return { remove: () => this.listeners.delete(listener) };
  }

  become(state: string): void {
    this.currentState = state;
    for (const listener of this.listeners) listener(state);
  }

  get isListenedTo(): boolean {
    return this.listeners.size > 0;
  }
}

class FakeNetInfo {
  isConnected: boolean | null = null;
  private readonly listeners = new Set<(state: { isConnected: boolean | null }) => void>();

  addEventListener(listener: (state: { isConnected: boolean | null }) => void): () => void {
    this.listeners.add(listener);
    // As the real one: a new listener gets the present state.
    queueMicrotask(() => {
      listener({ isConnected: this.isConnected });
    });
    return () => this.listeners.delete(listener);
  }

  become(isConnected: boolean | null): void {
    this.isConnected = isConnected;
    for (const listener of this.listeners) listener({ isConnected });
  }

  get isListenedTo(): boolean {
    return this.listeners.size > 0;
  }
}

let appState: FakeAppState;
let netInfo: FakeNetInfo;
let connection: Connection;

function socket(): NativeSocket {
  const newest = NativeSocket.all.at(-1);
  if (!newest) throw new Error('no socket was opened');
  return newest;
}

async function connect(url = 'https://live.example.com/api/v1/messages/ws'): Promise<void> {
  connection = createConnection({
    url,
    getToken: () => 'T',
    projectId: 'P',
    environment: reactNativeEnvironment({ AppState: appState, NetInfo: netInfo }),
  });
  await pass();
}

beforeEach(() => {
  vi.useFakeTimers();
  for (const name of MISSING) vi.stubGlobal(name, undefined);
  vi.stubGlobal('window', globalThis);
  vi.stubGlobal('navigator', { product: 'ReactNative' });
  vi.stubGlobal('performance', { now: () => 12_345 });
  vi.stubGlobal('WebSocket', NativeSocket);
  vi.stubGlobal('URLSearchParams', NativeSearchParams);
  NativeSocket.all = [];
  appState = new FakeAppState();
  netInfo = new FakeNetInfo();
});

afterEach(() => {
  connection.close();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('on React Native', () => {
  it('connects without the globals of a browser', async () => {
    await connect();
    expect(socket().url).toBe('wss://live.example.com/api/v1/messages/ws?project_id=P&age=60000');
    expect(socket().protocols).toEqual(['neverstale.v1', 'bearer.T']);
    socket().frame(connected(['P']));
    expect(connection.status('P')).toBe('live');
  });

  it('resumes with its cursors', async () => {
    await connect();
    socket().frame(connected(['P']));
    socket().frame(change('P', 7));
    const cursor = connection.cursors()['project:P'] ?? '';
    socket().fail();
    expect(connection.status()).toBe('degraded');
    await pass(1_000);
    expect(NativeSocket.all).toHaveLength(2);
    expect(socket().url).toContain(`since=${encodeURIComponent(cursor)}`);
  });

  it('keeps a query client fresh', async () => {
    await connect();
    const queryClient = new QueryClient({
      defaultOptions: { queries: { staleTime: Infinity, retry: false } },
    });
    const disconnect = connectQueryClient(connection, queryClient);
    socket().frame(connected(['P']));
    let version = 1;
    const observer = new QueryObserver(queryClient, {
      queryKey: ['tasks', 'list', 'P'],
      queryFn: () => Promise.resolve(version),
    });
    const stop = observer.subscribe(() => undefined);
    await pass(1);
    version = 2;
    const data = { resource: 'task', id: 'T', action: 'UPDATE', project_id: 'P', timestamp: '' };
    socket().frame(change('P', 7, { resource: 'task', action: 'UPDATE', data }));
    await pass(20);
    expect(observer.getCurrentResult().data).toBe(2);
    stop();
    disconnect();
  });

  it('checks its socket when the app comes to the foreground', async () => {
    await connect();
    socket().frame(connected(['P']));
    appState.become('inactive');
    expect(connection.environment.isVisible()).toBe(true);
    appState.become('background');
    expect(connection.environment.isVisible()).toBe(false);
    expect(socket().sent).toEqual([]);
    appState.become('active');
    expect(connection.environment.isVisible()).toBe(true);
    expect(socket().sent).toEqual([{ type: 'ping' }]);
  });

  it('is offline when there is no network, and connects when it returns', async () => {
    await connect();
    expect(connection.status()).not.toBe('offline');
    netInfo.become(false);
    expect(connection.status()).toBe('offline');
    expect(connection.environment.isOnline()).toBe(false);
    netInfo.become(null);
    expect(connection.environment.isOnline()).toBe(true);
    expect(connection.status()).not.toBe('offline');
  });

  it('learns at its start that there is no network', async () => {
    netInfo.isConnected = false;
    await connect();
    expect(connection.status()).toBe('offline');
  });

  it('passes on each signal once, until it is stopped', async () => {
    await connect();
    const signals: string[] = [];
    const stop = connection.environment.onSignal((signal) => signals.push(signal));
    await pass();
    netInfo.become(true);
    netInfo.become(false);
    netInfo.become(false);
    netInfo.become(true);
    appState.become('inactive');
    appState.become('active');
    expect(signals).toEqual(['offline', 'online', 'visible', 'focus']);
    stop();
    appState.become('active');
    netInfo.become(false);
    expect(signals).toHaveLength(4);
    connection.close();
    expect([appState.isListenedTo, netInfo.isListenedTo]).toEqual([false, false]);
  });

  it('needs no NetInfo', () => {
    const environment = reactNativeEnvironment({ AppState: appState });
    environment.onSignal(() => undefined)();
    expect(environment.isOnline()).toBe(true);
    expect(appState.isListenedTo).toBe(false);
  });

  it('knows a time before which nothing was fetched', () => {
    const one = reactNativeEnvironment({ AppState: appState });
    const other = reactNativeEnvironment({ AppState: appState });
    expect(one.loadedAt).toBeLessThanOrEqual(one.now());
    expect(other.loadedAt).toBe(one.loadedAt);
  });
});
