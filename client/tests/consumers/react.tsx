import { QueryClient } from '@tanstack/react-query';
import { createConnection } from 'neverstale';
import { mountDevtools } from 'neverstale/devtools';
import { persistQueryClient } from 'neverstale/persist';
import { NeverstaleProvider, useConnection, useNeverstale } from 'neverstale/react';
import { prefetchCursors } from 'neverstale/server';
import { createSharedConnection } from 'neverstale/tabs';
import { connectQueryClient, readCursors } from 'neverstale/tanstack';
import { createTestServer } from 'neverstale/testing';

const queryClient = new QueryClient();

const persistence = persistQueryClient({
  queryClient,
  storage: localStorage,
  userId: user.id,
  schemaVersion: 1,
  maxAgeMs: undefined,
  key: undefined,
  restoreMs: undefined,
});

const options = {
  url,
  getToken,
  projectId: undefined,
  cursors: readCursors(queryClient),
  maxTries: undefined,
  environment: undefined,
};
createConnection(options);
const connection = createSharedConnection({ ...options, userId: user.id, tabs: undefined });
connectQueryClient(connection, queryClient, {
  mapping: undefined,
  isOf: undefined,
  batchMs: undefined,
  settleMs: undefined,
  shouldRetry: undefined,
  isEcho: undefined,
  mayAffect: undefined,
  maxDeferMs: undefined,
  pollMs: undefined,
  refetchHidden: undefined,
  keepForbidden: undefined,
});
connectQueryClient(connection, queryClient, {
  isOf: (queryKey, projectId, others) => queryKey.includes(projectId) && others.size > 0,
  // @ts-expect-error: a key is not any value
  isEcho: (change, queryKey) => queryKey.nothing === change.id,
});
// @ts-expect-error: not a query client
connectQueryClient(connection, new Map());
mountDevtools(connection, queryClient, { theme: undefined });
void prefetchCursors(queryClient, {
  url,
  token: '',
  projectIds: undefined,
  environment: undefined,
});
const { environment } = createTestServer({ userId: undefined });

function Project({ id }: { id: string | undefined }): string {
  useConnection()?.close();
  return useNeverstale(id);
}

export const page = (
  <NeverstaleProvider
    url={url}
    getToken={getToken}
    queryClient={queryClient}
    maxTries={undefined}
    environment={environment}
    shareTabsOf={undefined}
    tabs={undefined}
    options={undefined}
    persist={() => persistence}
  >
    <Project id={undefined} />
  </NeverstaleProvider>
);
