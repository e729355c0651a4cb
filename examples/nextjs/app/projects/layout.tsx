import type { ReactNode } from 'react';

import { readSession } from '../session';
import { Providers } from './providers';

export default async function Layout({ children }: { children: ReactNode }) {
  const { userId } = await readSession();
  // With the key, another user gets another query client.
  return (
    <Providers key={userId} userId={userId} gatewayUrl={process.env.GATEWAY_PUBLIC_URL ?? ''}>
      {children}
    </Providers>
  );
}
