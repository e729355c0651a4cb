import { vi } from 'vitest';

import type { ConnectionOptions } from '../src/connection.js';
import type { Environment, EnvironmentSignal, Socket, SocketListener } from '../src/environment.js';
import { change, connected } from './core/script.js';

/** A socket whose other end is the test. */
export class FakeSocket implements Socket {
  readonly sent: object[] = [];
  isClosed = false;

  constructor(
    readonly url: URL,
    readonly protocols: string[],
    private readonly listener: SocketListener,
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text) as object);
  }

  close(): void {
    this.isClosed = true;
  }

  /** The server sends a frame, even if the client has closed its end meanwhile. */
  frame(frame: object): void {
    this.listener.text(JSON.stringify(frame));
  }

  connected(projectIds: string[], frame: object = {}): void {
    this.frame(connected(projectIds, frame));
  }

  change(projectId: string, place: number, resource = 'task', id = 'T', action = 'UPDATE'): void {
    const data = { resource, id, action, project_id: projectId, timestamp: '' };
    this.frame(change(projectId, place, { resource, action, data }));
  }

  end(code: number, reason = ''): void {
    this.isClosed = true;
    this.listener.closed(code, reason);
  }
}

/** A world under Vitest's fake timers, with sockets and signals of the test's own. */
export class World implements Environment {
  readonly sockets: FakeSocket[] = [];
  readonly warnings: string[] = [];
  readonly loadedAt = Date.now();
  readonly baseUrl = 'https://app.example.com/board';
  chance = 0.5;
  isOnScreen = true;
  hasNetwork = true;
  mostOpenSockets = 0;
  private readonly signalListeners = new Set<(signal: EnvironmentSignal) => void>();

  now(): number {
    return Date.now();
  }

  random(): number {
    return this.chance;
  }

  setTimer(call: () => void, ms: number): () => void {
    const timer = setTimeout(call, ms);
    return () => {
      clearTimeout(timer);
    };
  }

  openSocket(url: string, protocols: string[], listener: SocketListener): Socket {
    const socket = new FakeSocket(new URL(url), protocols, listener);
    this.sockets.push(socket);
    this.mostOpenSockets = Math.max(this.mostOpenSockets, this.openSockets.length);
    return socket;
  }

  isOnline(): boolean {
    return this.hasNetwork;
  }

  isVisible(): boolean {
    return this.isOnScreen;
  }

  onSignal(listener: (signal: EnvironmentSignal) => void): () => void {
    this.signalListeners.add(listener);
    return () => {
      this.signalListeners.delete(listener);
    };
  }

  signal(signal: EnvironmentSignal): void {
    for (const listener of [...this.signalListeners]) listener(signal);
  }

  warn(text: string): void {
    this.warnings.push(text);
  }

  get openSockets(): FakeSocket[] {
    return this.sockets.filter((socket) => !socket.isClosed);
  }

  /** The newest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was opened');
    return socket;
  }

  get isListenedTo(): boolean {
    return this.signalListeners.size > 0;
  }
}

export function optionsIn(world: World, more: Partial<ConnectionOptions> = {}): ConnectionOptions {
  const url = 'wss://live.example.com/api/v1/messages/ws';
  return { url, getToken: () => 'T', environment: world, ...more };
}

/** Lets what is due happen, within so many milliseconds. */
export async function pass(ms = 0): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** Hears what nobody catches; gives it, once. */
export function hearUncaught(): () => unknown[] {
  const failures: unknown[] = [];
  const keep = (error: unknown): void => void failures.push(error);
  process.on('uncaughtException', keep).on('unhandledRejection', keep);
  return () => {
    process.off('uncaughtException', keep).off('unhandledRejection', keep);
    return failures;
  };
}
