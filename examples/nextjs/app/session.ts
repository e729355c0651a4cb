import { cookies } from 'next/headers';
import { redirect } from 'next/navigation';

import { answer, type Read } from './api';

export interface Session {
  readonly userId: string;
  readonly token: string;
  readonly read: Read;
}

/** The signed-in user, from the cookie that the API sets; without one, the page to sign in. */
export async function readSession(): Promise<Session> {
  const token = (await cookies()).get('access_token')?.value;
  if (token === undefined) redirect('/');
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString();
  const { sub: userId } = JSON.parse(payload) as { sub: string };
  const read: Read = async (path) =>
    answer(
      await fetch(`${process.env.API_URL}/api${path}`, {
        headers: { Authorization: `Bearer ${token}` },
        cache: 'no-store',
      }),
    );
  return { userId, token, read };
}
