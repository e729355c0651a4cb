import { QueryClient, QueryClientProvider, useQuery } from '@tanstack/react-query';
import { act, cleanup, render, screen } from '@testing-library/react';
import type { ReactNode } from 'react';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { NeverstaleProvider, useNeverstale } from '../../src/react/index.js';
import { createTestServer, type TestServer } from '../../src/testing/index.js';

let server: TestServer;
let title: string;

function Task(): ReactNode {
  const status = useNeverstale('P');
  const { data = 'loading' } = useQuery({
    queryKey: ['tasks', 'detail', 'T'],
    queryFn: () => Promise.resolve(title),
  });
  return <p>{`${data}: ${status}`}</p>;
}

function renderApp(): void {
  server = createTestServer();
  const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
  render(
    <QueryClientProvider client={queryClient}>
      <NeverstaleProvider
        url={server.url}
        environment={server.environment}
        getToken={() => 'T'}
        queryClient={queryClient}
      >
        <Task />
      </NeverstaleProvider>
    </QueryClientProvider>,
  );
}

beforeEach(() => {
  title = 'one';
  vi.spyOn(console, 'error');
});

afterEach(() => {
  cleanup();
  // React's warnings that an update was not wrapped in act(), too.
  expect(console.error).not.toHaveBeenCalled();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it.each([
  ['real timers', undefined],
  ['fake timers that advance', { shouldAdvanceTime: true }],
])('Testing Library waits for what the server causes, with %s', async (_, fake) => {
  if (fake) vi.useFakeTimers(fake);
  renderApp();
  await screen.findByText('one: live');
  title = 'two';
  server.change({ resource: 'task', id: 'T', projectId: 'P' });
  await screen.findByText('two: live');
  server.setOnline(false);
  await screen.findByText('two: offline');
  title = 'three';
  server.change({ resource: 'task', id: 'T', projectId: 'P' });
  server.setOnline(true);
  await screen.findByText('three: live');
});

it('fake timers can be advanced by hand', async () => {
  vi.useFakeTimers();
  renderApp();
  await act(() => vi.advanceTimersByTimeAsync(20));
  expect(document.body.textContent).toBe('one: live');
  title = 'two';
  server.change({ resource: 'task', id: 'T', projectId: 'P' });
  await act(() => vi.advanceTimersByTimeAsync(20));
  expect(document.body.textContent).toBe('two: live');
});
