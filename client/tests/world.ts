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

/** A request for server-sent events, whose answer is the test's. */
export class FakeStream {
  readonly answered: Promise<Response>;
  readonly headers: Headers;
  private answer: (response: Response) => void = () => undefined;
  private fail: (error: unknown) => void = () => undefined;
  private body: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(
    readonly url: URL,
    readonly init: RequestInit,
  ) {
    this.headers = new Headers(init.headers);
    this.answered = new Promise((resolve, reject) => {
      this.answer = resolve;
      this.fail = reject;
    });
    init.signal?.addEventListener('abort', () => {
      const error = new DOMException('aborted', 'AbortError');
      this.fail(error);
      this.body?.error(error);
    });
  }

  get isAborted(): boolean {
    return this.init.signal?.aborted === true;
  }

  /** Accepts it. */
  open(contentType = 'text/event-stream'): void {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.body = controller;
      },
    });
    this.answer(new Response(body, { headers: { 'Content-Type': contentType } }));
  }

  refuse(status: number, body: string): void {
    this.answer(new Response(body, { status }));
  }

  /** The network refuses it. */
  lose(): void {
    this.fail(new TypeError('fetch failed'));
    this.body?.error(new TypeError('network error'));
  }

  send(text: string): void {
    this.body?.enqueue(new TextEncoder().encode(text));
  }

  /** The server sends a frame, with the cursors up to it as its id. */
  frame(frame: object, id = ''): void {
    this.send(`data: ${JSON.stringify(frame)}\n${id === '' ? '' : `id: ${id}\n`}\n`);
  }

  end(): void {
    this.body?.close();
  }
}

/** A world under Vitest's fake timers, with sockets and signals of the test's own. */
export class World implements Environment {
  readonly sockets: FakeSocket[] = [];
  readonly streams: FakeStream[] = [];
  readonly warnings: string[] = [];
  readonly loadedAt = Date.now();
  readonly baseUrl = 'https://app.example.com/board';
  fetch: Environment['fetch'];
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

  /** Server-sent events are possible from now on. */
  allowStreams(): void {
    this.fetch = (url, init) => {
      const stream = new FakeStream(new URL(url), init);
      this.streams.push(stream);
      return stream.answered;
    };
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

  /** The newest stream. */
  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (!stream) throw new Error('no stream was opened');
    return stream;
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
