import { createServer } from 'node:net';

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';

import { browserEnvironment, createConnection, type Connection } from '../src/index.js';
import { hearUncaught } from './world.js';

const CLOSED_PORT = 'ws://127.0.0.1:1/api/v1/messages/ws';

let failures: () => unknown[];
let warnings: string[];
let connection: Connection | undefined;

beforeEach(() => {
  failures = hearUncaught();
  warnings = [];
  vi.stubGlobal('WebSocket', WebSocket);
});

afterEach(() => {
  connection?.close();
  vi.unstubAllGlobals();
});

/** A connection in Node, which retries at once. */
function connect(url: string): Connection {
  const warn = (text: string): void => void warnings.push(text);
  const environment = { ...browserEnvironment(), random: () => 0, warn };
  connection = createConnection({ url, getToken: () => 'T', environment });
  return connection;
}

/** Waits for so many failed attempts; gives why the last one failed. */
async function fail(url: string, attempts = 3): Promise<string | undefined> {
  const { onStatus, info, status } = connect(url);
  let failed = 0;
  await new Promise<void>((resolve) => {
    onStatus(() => {
      if (info().nextAttemptAt !== undefined) failed += 1;
      if (failed >= attempts) resolve();
    });
  });
  expect(status()).toBe('degraded');
  return info().lastError;
}

it.each([
  ['/api/v1/messages/ws', 'a path without a page'],
  ['wss://live example/ws', 'malformed'],
  ['ftp://live.example.com', 'of another protocol'],
])('a URL like %s (%s) warns once', async (url) => {
  const error = await fail(url);
  expect(error).toContain(`cannot open ${url}: SyntaxError: `);
  expect(warnings).toEqual([error]);
  expect(failures()).toEqual([]);
});

it('a runtime without WebSocket warns once', async () => {
  vi.stubGlobal('WebSocket', undefined);
  const error = await fail(CLOSED_PORT);
  expect(error).toMatch(/^cannot open ws:.*: TypeError: WebSocket is not a constructor/);
  expect(warnings).toEqual([error]);
  expect(failures()).toEqual([]);
});

it("the sockets of `ws`, which throw errors without a listener, don't crash the process", async () => {
  // The third attempt would be a stream.
  expect(await fail(CLOSED_PORT, 2)).toBe('closed with 1006');
  expect(warnings).toEqual([]);
  expect(failures()).toEqual([]);
});

it('nor when they are closed before they are open', async () => {
  const server = createServer();
  const arrived = new Promise((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const closed = new Promise((resolve) => {
    server.once('connection', (socket) => socket.once('close', resolve));
  });
  const { close } = connect(`ws://127.0.0.1:${port}/ws`);
  await arrived;
  close();
  await closed;
  server.close();
  expect(failures()).toEqual([]);
});
