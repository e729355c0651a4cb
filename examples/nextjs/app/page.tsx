import { connection } from 'next/server';

import { answer, type User } from './api';
import { SignIn } from './sign-in';

export default async function Page() {
  await connection(); // not while building
  const users = await answer<User[]>(await fetch(`${process.env.API_URL}/api/users`));
  return <SignIn users={users} />;
}
