import type { Query } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import type { Status } from '../core/events.js';
import { projectOf, type Cursors } from '../core/protocol.js';
import { names } from './mapping.js';

/**
 * Whether events keep a query fresh: `live`: yes; `connecting`: perhaps in a moment; `missing`: no;
 * `forbidden`: no, and the user may not fetch it.
 */
export type Coverage = 'live' | 'connecting' | 'missing' | 'forbidden';

/** The projects that a query cache may hold data of, and how events cover them. */
export class Projects {
  /** Every project that was open, has a cursor, or was named by an event. */
  readonly known = new Set<string>();
  /** The last status of each open project, and of the connection as a whole. */
  private statuses = new Map<string | undefined, Status>();
  private forbidden = new Set<string>();

  constructor(
    private readonly connection: Connection,
    private readonly isOf: (query: Query, projectId: string) => boolean,
  ) {}

  add(projectId: string | null | undefined): void {
    if (typeof projectId === 'string') this.known.add(projectId);
  }

  addChannels(cursors: Cursors): void {
    for (const channel of Object.keys(cursors)) this.add(projectOf(channel));
  }

  /** Read all statuses; return the projects that became forbidden, and those that became live. */
  update(): Readonly<Record<'forbidden' | 'live', (string | undefined)[]>> {
    const { connection, statuses: before } = this;
    const open = connection.projects();
    for (const id of open) this.add(id);
    this.addChannels(connection.cursors());
    const now = new Map([undefined, ...open].map((id) => [id, connection.status(id)] as const));
    const became = (status: Status): (string | undefined)[] =>
      [...now.keys()].filter((id) => now.get(id) === status && before.get(id) !== status);
    const isForbidden = (id: string): boolean =>
      // A project that is asked for again stays forbidden until it is live.
      now.get(id) === 'forbidden' || (this.forbidden.has(id) && now.get(id) !== 'live');
    this.statuses = now;
    this.forbidden = new Set(open.filter(isForbidden));
    return { forbidden: became('forbidden'), live: became('live') };
  }

  /** Count a project as forbidden until it is live: its access may just have been lost. */
  suspend(projectId: string): void {
    this.forbidden.add(projectId);
  }

  coverage(query: Query): Coverage {
    const { connection } = this;
    const isOf = (id: string): boolean => this.isOf(query, id);
    const open = connection.projects().filter(isOf);
    const allowed = open.filter((id) => !this.forbidden.has(id));
    const statuses = allowed.map((id) => this.status(id));
    if (allowed.length === 0) {
      // No query is of the project '': one that may be is of no project in particular.
      const isNamed = (id: string): boolean => names(query.queryKey, id) || !isOf('');
      if (open.some(isNamed)) return 'forbidden';
      statuses.push(this.status());
      // Nothing keeps the data of a closed project fresh, but it may be about to be opened.
      const isOfClosed = [...this.known].some((id) => isOf(id) && isNamed(id));
      if (isOfClosed) statuses.push('connecting');
    }
    if (statuses.every((status) => status === 'live')) return 'live';
    const mayBeLiveSoon = statuses.every((status) => ['live', 'connecting'].includes(status));
    return mayBeLiveSoon ? 'connecting' : 'missing';
  }
  private status(projectId?: string): Status {
    const status = this.connection.status(projectId);
    const { lastError, nextAttemptAt } = this.connection.info();
    // An attempt in progress, e.g. since the network or the user came back, may succeed any moment.
    const isTrying =
      status === 'degraded' && lastError !== undefined && nextAttemptAt === undefined;
    return isTrying ? 'connecting' : status;
  }
}
