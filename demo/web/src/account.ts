import { createContext, useContext } from 'react';

export interface User {
  id: string;
  name: string;
}

interface Grant {
  user: User;
  token: string;
  gatewayPort: number;
  /** Milliseconds since the epoch. */
  expiresAt: number;
}

const STORED = 'account';
/** A token is not used in the last seconds of its life. */
const SPARE_MS = 5_000;

export class RequestFailed extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** A signed-in user. It is kept for the tab alone, so that two tabs can be two people. */
export class Account {
  private constructor(private grant: Grant) {}

  static async signIn(userId: string): Promise<Account> {
    const account = new Account(await askForGrant(userId));
    account.keep();
    return account;
  }

  static stored(): Account | undefined {
    const text = sessionStorage.getItem(STORED);
    return text === null ? undefined : new Account(JSON.parse(text) as Grant);
  }

  get user(): User {
    return this.grant.user;
  }

  get gatewayUrl(): string {
    const url = new URL('/api/v1/messages/ws', location.href);
    url.port = String(this.grant.gatewayPort);
    return url.href;
  }

  async signOut(): Promise<void> {
    sessionStorage.removeItem(STORED);
    await fetch('/api/session', { method: 'DELETE' });
  }

  async token({ refresh }: { refresh: boolean }): Promise<string> {
    if (refresh || Date.now() > this.grant.expiresAt - SPARE_MS) {
      this.grant = await askForGrant(this.user.id);
      this.keep();
    }
    return this.grant.token;
  }

  async request<T>(
    path: string,
    {
      method = 'GET',
      body,
      signal,
    }: { method?: string; body?: unknown; signal?: AbortSignal } = {},
  ): Promise<T> {
    const send = async (refresh: boolean): Promise<Response> =>
      fetch(`/api${path}`, {
        method,
        headers: { Authorization: `Bearer ${await this.token({ refresh })}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(signal && { signal }),
      });
    let response = await send(false);
    if (response.status === 401) response = await send(true);
    return read<T>(response);
  }

  private keep(): void {
    sessionStorage.setItem(STORED, JSON.stringify(this.grant));
  }
}

export async function listUsers(): Promise<User[]> {
  return read<User[]>(await fetch('/api/users'));
}

async function askForGrant(userId: string): Promise<Grant> {
  const response = await fetch('/api/session', {
    method: 'POST',
    body: JSON.stringify({ user_id: userId }),
  });
  const { user, token, expires_in, gateway_port } = await read<{
    user: User;
    token: string;
    expires_in: number;
    gateway_port: number;
  }>(response);
  return { user, token, gatewayPort: gateway_port, expiresAt: Date.now() + expires_in * 1_000 };
}

async function read<T>(response: Response): Promise<T> {
  const body: unknown = await response.json();
  if (!response.ok) {
    const { error } = body as { error: { message: string } };
    throw new RequestFailed(response.status, error.message);
  }
  return body as T;
}

const AccountContext = createContext<Account | undefined>(undefined);
export const AccountProvider = AccountContext.Provider;

export function useAccount(): Account {
  const account = useContext(AccountContext);
  if (!account) throw new Error('nobody is signed in');
  return account;
}
