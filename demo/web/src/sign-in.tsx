import { useEffect, useState, type ReactNode } from 'react';

import { Account, listUsers, type User } from './account';
import { Avatar, Brand } from './parts';

/** Signs in as any user without a password; `?as=<user id>` skips this page. */
export function SignIn({ onSignIn }: { onSignIn: (account: Account) => void }): ReactNode {
  const [users, setUsers] = useState<User[]>();
  const [problem, setProblem] = useState('');

  const signIn = (userId: string): void => {
    Account.signIn(userId).then(onSignIn, (error: unknown) => {
      setProblem(String(error));
    });
  };

  useEffect(() => {
    const url = new URL(location.href);
    const userId = url.searchParams.get('as');
    if (userId !== null) {
      url.searchParams.delete('as');
      history.replaceState(null, '', url);
      signIn(userId);
      return;
    }
    listUsers().then(setUsers, (error: unknown) => {
      setProblem(String(error));
    });
    // Run once, when the page opens.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  return (
    <main className="sign-in">
      <Brand />
      <h1>A board that is never stale</h1>
      <p>Open it in two tabs as two users, and change something in one of them.</p>
      {problem && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      {!users && !problem && <p className="note loading">Loading</p>}
      <ul className="people">
        {users?.map((user) => (
          <li key={user.id}>
            <button
              className="person"
              onClick={() => {
                signIn(user.id);
              }}
            >
              <Avatar name={user.name} />
              Continue as {user.name}
            </button>
          </li>
        ))}
      </ul>
    </main>
  );
}
