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

const STORAGE_KEY = 'account';
/** A token is replaced this long before it expires. */
const EXPIRY_MARGIN_MS = 5_000;

export class RequestFailed extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** Whether the server has refused a request: repeating it is no use. */
export function isRefusal(error: unknown): boolean {
  return error instanceof RequestFailed && error.status < 500;
}

/** A signed-in user, stored per tab so that two tabs can be signed in as different users. */
export class Account {
  private constructor(private grant: Grant) {}

  static async signIn(userId: string): Promise<Account> {
    const account = new Account(await requestGrant(userId));
    account.store();
    return account;
  }

  static stored(): Account | undefined {
    const text = sessionStorage.getItem(STORAGE_KEY);
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
    sessionStorage.removeItem(STORAGE_KEY);
    await fetch('/api/session', { method: 'DELETE' });
  }

  /** Returns a valid token; null if the user cannot be signed in any more. */
  async token({ refresh }: { refresh: boolean }): Promise<string | null> {
    if (refresh || Date.now() > this.grant.expiresAt - EXPIRY_MARGIN_MS) {
      try {
        this.grant = await requestGrant(this.user.id);
      } catch (error) {
        if (isRefusal(error)) return null;
        throw error;
      }
      this.store();
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
        headers: { Authorization: `Bearer ${String(await this.token({ refresh }))}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...(signal && { signal }),
      });
    let response = await send(false);
    if (response.status === 401) response = await send(true);
    return read<T>(response);
  }

  private store(): void {
    sessionStorage.setItem(STORAGE_KEY, JSON.stringify(this.grant));
  }
}

export async function listUsers(): Promise<User[]> {
  return read<User[]>(await fetch('/api/users'));
}

async function requestGrant(userId: string): Promise<Grant> {
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
  if (!account) throw new Error('useAccount needs an AccountProvider: no user is signed in');
  return account;
}
