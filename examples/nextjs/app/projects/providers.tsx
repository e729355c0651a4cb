'use client';

import { IsRestoringProvider, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { indexedDbStorage, persistQueryClient, type Persistence } from 'neverstale/persist';
import { NeverstaleProvider } from 'neverstale/react';
import { neverstaleDefaults } from 'neverstale/tanstack';
import { useRef, useState, type ReactNode } from 'react';

import { answer } from '../api';

interface Props {
  userId: string;
  gatewayUrl: string;
  children: ReactNode;
}

export function Providers({ userId, gatewayUrl, children }: Props) {
  const [queryClient] = useState(() => new QueryClient({ defaultOptions: neverstaleDefaults }));
  const [isRestoring, setIsRestoring] = useState(true);
  const persistence = useRef<Persistence>(undefined);

  function persist(): Persistence {
    persistence.current = persistQueryClient({
      queryClient,
      storage: indexedDbStorage(),
      userId,
      schemaVersion: 1,
    });
    void persistence.current.restored.then(() => setIsRestoring(false));
    return persistence.current;
  }

  async function getToken(): Promise<string> {
    const body = JSON.stringify({ user_id: userId });
    const response = await fetch('/api/session', { method: 'POST', body });
    return (await answer<{ token: string }>(response)).token;
  }

  async function signOut(): Promise<void> {
    await persistence.current?.clear();
    await fetch('/api/session', { method: 'DELETE' });
    window.location.href = '/';
  }

  return (
    <QueryClientProvider client={queryClient}>
      <NeverstaleProvider
        url={gatewayUrl}
        getToken={getToken}
        queryClient={queryClient}
        persist={persist}
      >
        <IsRestoringProvider value={isRestoring}>
          <button onClick={() => void signOut()}>Sign out</button>
          {children}
        </IsRestoringProvider>
      </NeverstaleProvider>
    </QueryClientProvider>
  );
}
