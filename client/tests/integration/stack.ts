import type { QueryKey } from '@tanstack/query-core';

const HARNESS = process.env.HARNESS_URL ?? '';

interface Options {
  gateways: number;
  listeners: number;
  /** What to call resources, by their names in the demo. */
  resources?: Readonly<Record<string, string>>;
}

interface Description {
  number: number;
  wsPath: string;
  gatewayPorts: number[];
}

type PartName = 'valkey' | 'postgres' | `gateway${number}` | `listener${number}`;

async function ask(path: string, body?: object): Promise<Response> {
  const how = body && { method: 'POST', body: JSON.stringify(body) };
  const response = await fetch(HARNESS + path, how);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** PostgreSQL, Valkey, listeners and gateways. */
export class Stack {
  private constructor(private readonly description: Description) {}

  /** One that all test files share, who do it no harm. */
  static async shared(): Promise<Stack> {
    const response = await ask('/stacks/shared');
    return new Stack((await response.json()) as Description);
  }

  /** One whose every part may be harmed. */
  static async own(options: Options): Promise<Stack> {
    const response = await ask('/stacks', options);
    return new Stack((await response.json()) as Description);
  }

  get gatewayPorts(): readonly number[] {
    return this.description.gatewayPorts;
  }

  get wsPath(): string {
    return this.description.wsPath;
  }

  /** What the app's API answers to a query of a user; it reads PostgreSQL. */
  async read(queryKey: QueryKey, user: string): Promise<unknown> {
    const query = new URLSearchParams({ key: JSON.stringify(queryKey), user });
    return (await ask(`${this.path}/read?${query.toString()}`)).json();
  }

  async sql(sql: string, ...values: (string | number | null)[]): Promise<unknown[]> {
    const response = await ask(`${this.path}/sql`, { sql, values });
    return (await response.json()) as unknown[];
  }

  /** A change of a resource without a table, logged without loss. */
  async notify(resource: string, projectId: string, id: string | null): Promise<void> {
    await this.sql(`select neverstale.notify($1, 'UPDATE', $2, $3)`, resource, projectId, id);
  }

  async part(name: PartName, action: 'start' | 'ready' | 'stop' | 'kill'): Promise<void> {
    await ask(`${this.path}/parts/${name}/${action}`, {});
  }

  /** @param seconds - until it expires; by default it does not */
  async token(user: string, seconds?: number): Promise<string> {
    const expiry = seconds === undefined ? '' : `&seconds=${seconds}`;
    return (await ask(`/token?user=${user}${expiry}`)).text();
  }

  private get path(): string {
    return `/stacks/${this.description.number}`;
  }
}
