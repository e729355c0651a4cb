import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { indexedDbStorage, neverstaleDefaults, persistQueryClient } from 'neverstale/persist';
import { NeverstaleProvider } from 'neverstale/react';
import { use, useState, Suspense, type ReactNode } from 'react';

import { Account, AccountProvider, isRefusal } from './account';
import { Journal } from './journal';
import { mapping, setTaskChanges } from './queries';
import { SignIn } from './sign-in';
import { Workspace } from './workspace';

interface Opened {
  queryClient: QueryClient;
  journal: Journal;
  restored: Promise<void>;
  close: () => void;
}

function open(account: Account): Opened {
  const queryClient = new QueryClient({ defaultOptions: neverstaleDefaults });
  setTaskChanges(queryClient, account);
  const { restored, stop } = persistQueryClient({
    queryClient,
    storage: indexedDbStorage(),
    userId: account.user.id,
    schemaVersion: 1,
    key: `neverstale ${account.user.id}`, // tabs of one browser may be signed in as different users
  });
  void restored.then(() => queryClient.resumePausedMutations()); // made offline before a reload
  return {
    queryClient,
    journal: new Journal(queryClient),
    restored,
    close: () => {
      queryClient.clear();
      stop();
    },
  };
}

export function App(): ReactNode {
  const [signedIn, setSignedIn] = useState(() => {
    const account = Account.stored();
    return account && { account, opened: open(account) };
  });
  if (!signedIn) {
    return (
      <SignIn
        onSignIn={(account) => {
          setSignedIn({ account, opened: open(account) });
        }}
      />
    );
  }
  const { account, opened } = signedIn;
  const signOut = (): void => {
    opened.close();
    setSignedIn(undefined);
    void account.signOut();
  };
  return (
    <Suspense fallback={<p className="note loading">Loading</p>}>
      <SignedIn key={account.user.id} account={account} opened={opened} onSignOut={signOut} />
    </Suspense>
  );
}

function SignedIn(props: { account: Account; opened: Opened; onSignOut: () => void }): ReactNode {
  const { account, opened, onSignOut } = props;
  use(opened.restored); // the connection takes its cursors from the restored cache
  return (
    <QueryClientProvider client={opened.queryClient}>
      <NeverstaleProvider
        url={account.gatewayUrl}
        getToken={(how) => account.token(how)}
        queryClient={opened.queryClient}
        shareTabsOf={account.user.id}
        options={{ mapping, shouldRetry: (error) => !isRefusal(error) }}
      >
        <AccountProvider value={account}>
          <Workspace journal={opened.journal} onSignOut={onSignOut} />
        </AccountProvider>
      </NeverstaleProvider>
    </QueryClientProvider>
  );
}
