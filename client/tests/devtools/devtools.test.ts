// @vitest-environment happy-dom
import { QueryClient, QueryObserver, type QueryKey } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { mountDevtools, type DevtoolsOptions } from '../../src/devtools/index.js';
import { createConnection, type Connection } from '../../src/index.js';
import { connectQueryClient } from '../../src/tanstack/index.js';
import { createTestServer, type TestServer } from '../../src/testing/index.js';

let server: TestServer;
let connection: Connection;
let queryClient: QueryClient;
let fetch: (queryKey: QueryKey) => Promise<unknown>;
const stops: (() => void)[] = [];

beforeEach(() => {
  vi.useFakeTimers({ now: new Date('2026-11-24T10:00:00.000') });
  server = createTestServer();
  fetch = () => Promise.resolve('data');
  queryClient = new QueryClient({
    defaultOptions: {
      queries: { staleTime: Infinity, retry: false, queryFn: ({ queryKey }) => fetch(queryKey) },
    },
  });
  const { url, environment } = server;
  connection = createConnection({ url, environment, getToken: () => 'T', projectId: 'P' });
  stops.push(connectQueryClient(connection, queryClient));
});

afterEach(() => {
  for (const stop of stops.splice(0).reverse()) stop();
  connection.close();
  queryClient.clear();
  vi.useRealTimers();
  expect(document.body.childElementCount).toBe(0);
});

async function pass(ms = 50): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** Mounts the devtools on a live connection, and opens them. */
async function open(options: DevtoolsOptions = { initialIsOpen: true }): Promise<void> {
  await pass();
  stops.push(mountDevtools(connection, queryClient, options));
  await vi.dynamicImportSettled();
  await pass();
}

function root(): ShadowRoot {
  const found = document.querySelector('[data-neverstale]')?.shadowRoot;
  if (!found) throw new Error('the devtools are not mounted');
  return found;
}

function all(selector: string): HTMLElement[] {
  return [...root().querySelectorAll<HTMLElement>(selector)];
}

function texts(selector: string): string[] {
  return all(selector).map(({ textContent }) => textContent.replace(/\s+/g, ' ').trim());
}

function press(name: string): void {
  const found = all('button').find(({ textContent }) => textContent === name);
  if (!found) throw new Error(`there is no button "${name}"`);
  found.click();
}

/** What became of the queries of the newest event. */
function outcome(): string | undefined {
  return texts('.outcome')[0];
}

function show(...queryKey: QueryKey): void {
  stops.push(new QueryObserver(queryClient, { queryKey }).subscribe(() => undefined));
}

const TASK = { resource: 'task', id: '1', projectId: 'P' };

describe('the button', () => {
  it('names the status and opens the panel, which takes and gives back the focus', async () => {
    await open({});
    expect(texts('button')).toEqual(['Neverstale: live']);
    expect(all('.panel')).toEqual([]);
    press('Neverstale: live');
    await vi.dynamicImportSettled();
    await pass();
    expect(all('.panel')).toHaveLength(1);
    expect(root().activeElement?.textContent).toBe('Close');
    expect(all('.toggle')[0]?.hidden).toBe(true);
    root().activeElement?.dispatchEvent(
      new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }),
    );
    expect(all('.panel')).toEqual([]);
    expect(root().activeElement?.textContent).toBe('Neverstale: live');
    server.setOnline(false);
    await pass();
    expect(texts('button')).toEqual(['Neverstale: offline']);
  });

  it('has the position and theme that are asked for', async () => {
    await open({ buttonPosition: 'bottom-right', theme: 'dark' });
    expect(all('.toggle')[0]?.className).toBe('toggle bottom-right');
    expect(root().host.getAttribute('data-neverstale')).toBe('dark');
  });

  it('opens nothing after it was removed', async () => {
    await pass();
    const stop = mountDevtools(connection, queryClient, { initialIsOpen: true });
    stop();
    await vi.dynamicImportSettled();
    expect(document.querySelector('.panel')).toBeNull();
  });
});

describe('the connection', () => {
  it('is shown with its projects and cursors', async () => {
    server.refuse('Q');
    connection.open('Q');
    await open();
    expect(texts('.status')[0]).toMatch(/^live ?for \d s$/);
    expect(texts('.side > .rows li')).toEqual(['Plive', 'Qforbidden']);
    expect(texts('.side details')[0]).toContain('project:P');
    expect(texts('.side details')[0]).toContain('2 cursors');
  });

  it('says why it is down and when it tries again', async () => {
    await open();
    server.stop();
    await pass(5_000);
    expect(texts('dd')[0]).toContain('1006');
    expect(texts('dd')[1]).toMatch(/^in \d s$/);
    expect(texts('.status')[0]).toMatch(/^degraded ?for 5 s$/);
    expect(texts('.events > li')[0]).toContain('degraded');
  });

  it('is controlled by buttons', async () => {
    await open();
    press('Disconnect');
    await pass();
    expect(connection.status()).toBe('offline');
    press('Connect');
    await pass();
    expect(connection.status()).toBe('live');
    server.environment.onSignal(() => undefined);
    const before = server.clients();
    press('Reconnect');
    expect(server.clients()).not.toBe(before);
    await pass();
    expect(connection.status()).toBe('live');
  });
});

describe('events', () => {
  it('are listed with the queries that each made stale and refetched', async () => {
    show('tasks', 'detail', '1');
    await open();
    await queryClient.query({ queryKey: ['tasks', 'sprint', '7'] });
    await queryClient.query({ queryKey: ['other'] });
    let answer: (data: unknown) => void = () => undefined;
    fetch = () => new Promise((resolve) => (answer = resolve));
    server.change(TASK);
    await pass();
    expect(texts('.events summary')[0]).toMatch(/task ?UPDATE ?1/);
    expect(outcome()).toBe('2 queries stale, 1 fetching');
    queryClient.setQueryData(['tasks', 'detail', '1'], 'written by the app');
    await pass(30);
    expect(outcome()).toBe('2 queries stale, 1 fetching');
    answer('new');
    await pass();
    expect(outcome()).toBe('2 queries stale, 1 refetched');
    expect(texts('.events .rows')[0]).toMatch(/\["tasks","detail","1"\]refetched in \d+ ms/);
    expect(texts('.events .rows')[0]).toContain('["tasks","sprint","7"]stale');
    queryClient.removeQueries({ queryKey: ['tasks', 'sprint'] });
    await pass();
    expect(texts('.events .rows')[0]).toContain('["tasks","sprint","7"]removed');
  });

  it('count no refetch that began before them, and none that failed or was cancelled', async () => {
    show('tasks', 'detail', '1');
    await open();
    const answers: ((data: unknown) => void)[] = [];
    fetch = () => new Promise((resolve, reject) => answers.push(resolve, reject));
    void queryClient.refetchQueries();
    await pass();
    server.change(TASK);
    await pass();
    expect(outcome()).toBe('1 query stale');
    answers[0]?.('old');
    await pass(500);
    expect(outcome()).toBe('1 query stale, 1 fetching');
    await queryClient.cancelQueries();
    await pass(0);
    await pass(20);
    expect(outcome()).toBe('1 query stale');
    await pass(500);
    answers.at(-1)?.(new Error('no'));
    await pass(20); // before the next try
    expect(outcome()).toBe('1 query stale, 1 failed');
  });

  it('do not include what the app invalidates itself', async () => {
    show('tasks', 'detail', '1');
    show('other');
    await open();
    void queryClient.invalidateQueries({ queryKey: ['other'] }, { cancelRefetch: false });
    await pass();
    server.change(TASK);
    await pass();
    expect(texts('.events .rows')[0]).not.toContain('other');
    server.change({ ...TASK, resource: 'sprint' });
    await pass();
    expect(outcome()).toBe('no query became stale');
  });

  it('keep their queries apart, also for a binding that is newer than the panel', async () => {
    show('tasks', 'detail', '1');
    show('tasks', 'detail', '2');
    await open();
    stops.shift()?.();
    stops.push(connectQueryClient(connection, queryClient));
    server.change({ resource: 'note', id: '0', projectId: 'Q' });
    server.setLive(true);
    server.change({ ...TASK, resource: 'message' });
    server.change(TASK);
    server.change({ ...TASK, id: '2' });
    await pass();
    expect(texts('.events .rows').slice(0, 2)).toEqual([
      expect.stringMatching(/^\["tasks","detail","2"\]\w+( in \d+ ms)?$/),
      expect.stringMatching(/^\["tasks","detail","1"\]\w+( in \d+ ms)?$/),
    ]);
  });

  it('include resets and why', async () => {
    await open();
    server.reset('truncate');
    server.reset('bulk_change', 'P');
    server.reset('something_new');
    await pass();
    const [unknown, ofProject, everything] = texts('.events > li');
    expect(everything).toContain('A table was emptied by TRUNCATE.');
    expect(everything).toContain('everything');
    expect(ofProject).toContain('P');
    expect(unknown).toContain('Reason: something_new.');
  });

  it('are text, whatever they contain', async () => {
    show('tasks', 'detail', '<img src=x>');
    await open();
    server.change({ ...TASK, resource: 'task', id: '<img src=x>' });
    vi.spyOn(server.environment, 'warn').mockReturnValue();
    server.change({ ...TASK, resource: '<b class=injected>' });
    server.reset('<script>');
    connection.open('<img src=y>');
    await pass();
    expect(all('img, script, .injected')).toEqual([]);
    expect(texts('.events')[0]).toContain('<img src=x>');
    expect(texts('.side')[0]).toContain('<img src=y>');
  });

  it('stay open while more arrive, are limited in number, and can be cleared', async () => {
    await open();
    server.change(TASK);
    await pass();
    const [details] = all('.events details') as HTMLDetailsElement[];
    if (details) details.open = true;
    for (let id = 2; id <= 200; id++) server.change({ ...TASK, id: String(id) });
    await pass();
    expect(all('.events > li')).toHaveLength(200);
    expect(all('.events details').at(-1)).toBe(details);
    expect(details?.open).toBe(true);
    server.change({ ...TASK, id: '201' });
    await pass();
    expect(all('.events > li')).toHaveLength(200);
    expect(details?.isConnected).toBe(false);
    press('Clear');
    await pass();
    expect(texts('.events > li')).toEqual(['No event yet.']);
  });
});
