// A page with the devtools on a gateway in memory, for tests in a real browser.
import { QueryClient, QueryObserver, type QueryKey } from '@tanstack/query-core';

import { mountDevtools } from '../../../src/devtools/index.js';
import { createConnection } from '../../../src/index.js';
import { connectQueryClient } from '../../../src/tanstack/index.js';
import { createTestServer } from '../../../src/testing/index.js';

const APOLLO = 'a9011000-0000-4000-8000-000000000001';
const GEMINI = '9e319100-0000-4000-8000-000000000002';
const SHOWN: QueryKey[] = [
  ['projects', 'list'],
  ['projects', 'bundle', APOLLO],
  ['tasks', 'list', APOLLO],
  ['tasks', 'detail', '42'],
  ['messages', 'list', APOLLO],
];

const server = createTestServer({ userId: 'ada' });
server.refuse(GEMINI);
const queryClient = new QueryClient({
  defaultOptions: {
    queries: { staleTime: Infinity, retry: false, queryFn: () => Promise.resolve('data') },
  },
});
for (const queryKey of SHOWN) {
  new QueryObserver(queryClient, { queryKey }).subscribe(() => undefined);
}
void queryClient.query({ queryKey: ['tasks', 'sprint', '7'] });
const connection = createConnection({
  url: server.url,
  environment: server.environment,
  getToken: () => 'T',
  projectId: APOLLO,
});
connection.open(GEMINI);
connectQueryClient(connection, queryClient, {
  mapping: {
    'invoice line': ({ projectId }) => ({ invalidate: [['projects', 'bundle', projectId]] }),
  },
});
mountDevtools(connection, queryClient);

/** Resolves once the page is connected and no query that it shows is stale. */
async function untilCurrent(): Promise<void> {
  const isCurrent = (): boolean =>
    server.clients().length > 0 &&
    queryClient.isFetching() === 0 &&
    queryClient.getQueryCache().findAll({ type: 'active', stale: true }).length === 0;
  while (!isCurrent()) await new Promise(requestAnimationFrame);
}

Object.assign(window, { server, APOLLO, untilCurrent });
