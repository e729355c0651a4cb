import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { cleanup, render, waitFor } from '@testing-library/react';
import type { ComponentType } from 'react';
import { afterEach, expect, it } from 'vitest';

import { NeverstaleProvider } from '../../src/react/index.js';
import { createTestServer } from '../../src/testing/index.js';

const { Devtools } = (await import('guide:Devtools')) as { Devtools: ComponentType };

afterEach(cleanup);

function buttons(): (string | undefined)[] {
  const hosts = [...document.querySelectorAll('[data-neverstale]')];
  return hosts.map(({ shadowRoot }) => shadowRoot?.querySelector('.toggle')?.textContent);
}

it("the guide's component shows the connection of its provider while it is mounted", async () => {
  const server = createTestServer();
  const queryClient = new QueryClient();
  const { unmount } = render(
    <QueryClientProvider client={queryClient}>
      <NeverstaleProvider
        url={server.url}
        environment={server.environment}
        getToken={() => 'T'}
        queryClient={queryClient}
      >
        <Devtools />
      </NeverstaleProvider>
    </QueryClientProvider>,
  );
  await waitFor(() => {
    expect(buttons()).toEqual(['Neverstale: live']);
  });
  unmount();
  await waitFor(() => {
    expect(buttons()).toEqual([]);
  });
});
