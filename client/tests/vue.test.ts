// @vitest-environment happy-dom
import { QueryClient, useQuery, VueQueryPlugin } from '@tanstack/vue-query';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createApp,
  createSSRApp,
  defineComponent,
  h,
  nextTick,
  ref,
  shallowRef,
  type App,
  type Component,
} from 'vue';
import { renderToString } from 'vue/server-renderer';

import type { NeverstaleEvent } from '../src/index.js';
import {
  provideNeverstale,
  useConnection,
  useConnectionStatus,
  useNeverstale,
} from '../src/vue/index.js';
import { pass, World } from './world.js';

const projectId = ref('P');
const url = ref('');
const mapping = ref<Record<string, () => { invalidate: string[][] }>>({});
const isSignedIn = ref(true);
const content = shallowRef<Component>();
let heard: NeverstaleEvent[];
let world: World;
let queryClient: QueryClient;
let app: App;
let page: HTMLElement;

const Project = defineComponent({
  setup() {
    const status = useNeverstale(projectId, (event) => heard.push(event));
    const connectionStatus = useConnectionStatus();
    return () =>
      `${projectId.value === '' ? 'none' : projectId.value}: ${status.value}, ${connectionStatus.value}`;
  },
});

const SignedIn = defineComponent({
  setup() {
    provideNeverstale(() => ({
      url: url.value,
      getToken: () => 'T',
      queryClient,
      environment: world,
      options: { mapping: mapping.value },
    }));
    return () => content.value && h(content.value);
  },
});

const Root = defineComponent(() => () => (isSignedIn.value ? h(SignedIn) : 'signed out'));

beforeEach(async () => {
  vi.useFakeTimers();
  heard = [];
  world = new World();
  queryClient = new QueryClient({
    defaultOptions: { queries: { staleTime: Infinity, gcTime: Infinity, retry: false } },
  });
  projectId.value = 'P';
  url.value = 'wss://live.example.com/ws';
  mapping.value = {};
  isSignedIn.value = true;
  content.value = Project;
  page = document.createElement('div');
  app = createApp(Root).use(VueQueryPlugin, { queryClient });
  app.mount(page);
  await pass();
});

afterEach(() => {
  app.unmount();
  vi.useRealTimers();
});

/** Something happens, and Vue renders. */
async function happens(what: () => void): Promise<void> {
  what();
  await pass(20);
  await nextTick();
}

it('holds one socket while it is mounted', async () => {
  expect(world.socket.url.searchParams.get('project_id')).toBe('P');
  expect(page.textContent).toBe('P: connecting, connecting');
  await happens(() => {
    world.socket.connected(['P']);
  });
  expect(page.textContent).toBe('P: live, live');
  await happens(() => {
    isSignedIn.value = false;
  });
  expect(world.sockets).toHaveLength(1);
  expect(world.openSockets).toEqual([]);
  expect(world.isListenedTo).toBe(false);
});

it('leaves one project for another on the same socket', async () => {
  await happens(() => {
    world.socket.connected(['P']);
  });
  await happens(() => {
    projectId.value = 'Q';
  });
  expect(world.socket.sent).toEqual([
    { type: 'unsubscribe', project_id: 'P' },
    { type: 'subscribe', project_id: 'Q', age: 60_000 },
  ]);
  expect(page.textContent).toContain('Q: connecting');
  await happens(() => {
    projectId.value = '';
  });
  expect(page.textContent).toBe('none: live, live');
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
    content.value = undefined;
  });
  await happens(() => {
    world.socket.change('P', 8);
  });
  expect(heard).toEqual([]);
});

it('connects again when the URL changes, but not when the options do', async () => {
  await happens(() => {
    mapping.value = { invoice: () => ({ invalidate: [] }) };
  });
  expect(world.sockets).toHaveLength(1);
  await happens(() => {
    url.value = 'wss://other.example.com/ws';
  });
  expect(world.sockets.map(({ isClosed }) => isClosed)).toEqual([true, false]);
  expect(world.mostOpenSockets).toBe(1);
});

it('keeps what is on the screen fresh, by the newest mapping', async () => {
  let version = 1;
  content.value = defineComponent(() => {
    useNeverstale('P');
    const { data } = useQuery({
      queryKey: ['invoices'],
      queryFn: () => Promise.resolve(`v${String(version)}`),
    });
    return () => data.value;
  });
  await pass(1);
  await happens(() => {
    world.socket.connected(['P']);
  });
  expect(page.textContent).toBe('v1');
  version = 2;
  await happens(() => {
    mapping.value = { invoice: () => ({ invalidate: [['other']] }) };
  });
  await happens(() => {
    world.socket.change('P', 7, 'invoice');
  });
  expect(page.textContent).toBe('v1');
  await happens(() => {
    mapping.value = { invoice: () => ({ invalidate: [['invoices']] }) };
  });
  await happens(() => {
    world.socket.change('P', 8, 'invoice');
  });
  await happens(() => undefined);
  expect(page.textContent).toBe('v2');
});

it('gives the connection itself', async () => {
  const connections: unknown[] = [];
  content.value = defineComponent(() => {
    const connection = useConnection();
    return () => {
      connections.push(connection.value?.projects());
      return null;
    };
  });
  await pass();
  expect(connections.at(-1)).toEqual([]);
});

describe('composables', () => {
  it('need a provider', () => {
    const lonely = createApp(Project);
    lonely.config.warnHandler = () => undefined;
    lonely.config.errorHandler = (error) => {
      throw error as Error;
    };
    expect(() => lonely.mount(document.createElement('div'))).toThrow(/provideNeverstale/);
  });

  it('do not connect on a server', async () => {
    const sockets = world.sockets.length;
    expect(await renderToString(createSSRApp(Root))).toContain('P: connecting');
    await pass();
    expect(world.sockets).toHaveLength(sockets);
  });
});
