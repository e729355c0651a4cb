'use client';

import { useRouter } from 'next/navigation';

import { browserRead, type Project, type User } from './api';

export function SignIn({ users }: { users: User[] }) {
  const router = useRouter();

  async function signIn(userId: string): Promise<void> {
    await fetch('/api/session', { method: 'POST', body: JSON.stringify({ user_id: userId }) });
    const [project] = await browserRead<Project[]>('/projects');
    if (project) router.push(`/projects/${project.id}`);
  }

  return (
    <main>
      <h1>Sign in</h1>
      {users.map(({ id, name }) => (
        <button key={id} onClick={() => void signIn(id)}>
          {name}
        </button>
      ))}
    </main>
  );
}
