import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { act, StrictMode, type ReactNode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { neverstaleDefaults, persistQueryClient, type Persistence } from '../src/persist/index.js';
import { NeverstaleProvider, useNeverstale } from '../src/react/index.js';
import { pass, World } from './world.js';

const TASK = ['tasks', 'detail', 'T'];

let world: World;
let queryClient: QueryClient;
let stored: Map<string, string>;
let persistences: Persistence[];
let root: Root;

function persist(): Persistence {
  const persistence = persistQueryClient({
    queryClient,
    storage: {
      getItem: (key) =>
        new Promise((resolve) =>
          setTimeout(() => {
            resolve(stored.get(key));
          }, 100),
        ),
      setItem: (key, value) => void stored.set(key, value),
      removeItem: (key) => void stored.delete(key),
    },
    userId: 'U',
    schemaVersion: 1,
  });
  persistences.push(persistence);
  return persistence;
}

function Project(): ReactNode {
  return <p>{useNeverstale('P')}</p>;
}

function App(): ReactNode {
  return (
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <NeverstaleProvider
          url="wss://live.example.com/ws"
          getToken={() => 'T'}
          queryClient={queryClient}
          environment={world}
          persist={persist}
        >
          <Project />
        </NeverstaleProvider>
      </QueryClientProvider>
    </StrictMode>
  );
}

async function render(app: ReactNode, ms = 0): Promise<void> {
  await act(async () => {
    root.render(app);
    await pass();
  });
  await act(async () => {
    await pass(ms);
  });
}

function load(): void {
  world = new World();
  queryClient = new QueryClient({ defaultOptions: neverstaleDefaults });
  root = createRoot(document.createElement('div'));
}

beforeEach(() => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  vi.useFakeTimers();
  stored = new Map();
  persistences = [];
  load();
});

afterEach(async () => {
  await render(null);
  vi.useRealTimers();
});

it('connects when the cache is restored, with its cursors', async () => {
  await render(<App />, 500);
  await act(async () => {
    world.socket.connected(['P']);
    queryClient.setQueryData(TASK, 'v1');
    await pass(2_000);
  });
  await render(null, 2_000);
  expect(stored.size).toBe(1);

  load();
  await render(<App />, 50);
  expect(world.sockets).toEqual([]);
  await render(<App />, 500);
  expect(queryClient.getQueryData(TASK)).toBe('v1');
  expect(world.socket.url.searchParams.getAll('since')).toContain('user:U@1');
  expect(world.sockets).toHaveLength(1);
});

it('stops saving when it is unmounted, and connects no more', async () => {
  await render(<App />, 50);
  await render(null, 1_000);
  expect(world.sockets).toEqual([]);
  queryClient.setQueryData(TASK, 'v1');
  await pass(5_000);
  expect(stored.size).toBe(0);
  await Promise.all(persistences.map(({ restored }) => restored));
});

it('is not called on a server', () => {
  expect(renderToString(<App />)).toContain('connecting');
  expect(persistences).toEqual([]);
});
