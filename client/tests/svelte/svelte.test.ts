import { QueryClient } from '@tanstack/svelte-query';
import { flushSync, mount, unmount, type Component } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { NeverstaleEvent } from '../../src/index.js';
import { pass, World } from '../world.js';
import PageComponent from './page.svelte';
import { props } from './props.svelte.js';
import Project from './project.svelte';

const Page = PageComponent as Component<typeof props>;
let world: World;
let queryClient: QueryClient;
let page: HTMLElement;
let mounted: Record<string, unknown> | undefined;
let heard: NeverstaleEvent[];

beforeEach(async () => {
  vi.useFakeTimers();
  world = new World();
  heard = [];
  queryClient = new QueryClient();
  page = document.createElement('div');
  Object.assign(props, {
    projectId: 'P',
    isOpen: true,
    onEvent: (event: NeverstaleEvent) => heard.push(event),
    options: {
      url: 'wss://live.example.com/ws',
      getToken: () => 'T',
      queryClient,
      environment: world,
    },
  });
  mounted = mount(Page, { target: page, props });
  flushSync();
  await pass();
});

afterEach(async () => {
  if (mounted) await unmount(mounted);
  mounted = undefined;
  vi.useRealTimers();
});

/** Something happens, and Svelte renders. */
async function happens(what: () => void): Promise<void> {
  what();
  flushSync();
  await pass(20);
  flushSync();
}

const shown = (): string => page.textContent.trim().replace(/\s+Reconnect$/, '');

it('holds one socket while it is mounted', async () => {
  expect(world.socket.url.searchParams.get('project_id')).toBe('P');
  expect(shown()).toBe('P: connecting, connecting');
  await happens(() => {
    world.socket.connected(['P']);
  });
  expect(shown()).toBe('P: live, live');
  if (mounted) await unmount(mounted);
  mounted = undefined;
  await pass();
  expect(world.sockets).toHaveLength(1);
  expect(world.openSockets).toEqual([]);
  expect(world.isListenedTo).toBe(false);
});

it('leaves one project for another on the same socket', async () => {
  await happens(() => {
    world.socket.connected(['P']);
  });
  await happens(() => {
    props.projectId = 'Q';
  });
  expect(world.socket.sent).toEqual([
    { type: 'unsubscribe', project_id: 'P' },
    { type: 'subscribe', project_id: 'Q', age: 60_000 },
  ]);
  expect(shown()).toBe('Q: connecting, live');
  await happens(() => {
    props.projectId = null;
  });
  expect(shown()).toBe('none: live, live');
});

it('passes on events while the component is mounted', async () => {
  await happens(() => {
    world.socket.connected(['P']);
  });
  await happens(() => {
    world.socket.change('P', 7);
  });
  expect(heard.splice(0)).toMatchObject([
    { type: 'stale', projectId: 'P' },
    { type: 'stale', projectId: undefined },
    { type: 'change', id: 'T' },
  ]);
  await happens(() => {
    props.isOpen = false;
  });
  expect(world.socket.sent).toEqual([{ type: 'unsubscribe', project_id: 'P' }]);
  await happens(() => {
    world.socket.change('P', 8);
  });
  expect(heard).toEqual([]);
});

it('keeps the query client fresh, by the newest mapping', async () => {
  queryClient.setQueryData(['invoices'], 'v1');
  await happens(() => {
    world.socket.connected(['P']);
  });
  await happens(() => {
    props.options = {
      ...props.options,
      options: { mapping: { invoice: () => ({ invalidate: [['invoices']] }) } },
    };
  });
  await happens(() => {
    world.socket.change('P', 7, 'invoice');
  });
  expect(queryClient.getQueryState(['invoices'])?.isInvalidated).toBe(true);
  expect(world.warnings).toEqual([]);
  expect(world.sockets).toHaveLength(1);
});

it('gives the connection itself', async () => {
  await happens(() => {
    world.socket.connected(['P']);
  });
  await happens(() => {
    page.querySelector('button')?.click();
  });
  await pass();
  expect(world.sockets.map(({ isClosed }) => isClosed)).toEqual([true, false]);
});

it('needs a provider', () => {
  expect(() => mount(Project, { target: page, props: {} })).toThrow(/provideNeverstale/);
});
