import type { Action, ClientMessage, Cursors } from './protocol.js';

/** A row changed. */
export interface Change {
  readonly type: 'change';
  readonly resource: string;
  /** As text; of `project_members` it is `<project_id>:<user_id>`. */
  readonly id: string;
  readonly action: Action;
  /** Null: of no project, but the user's alone. */
  readonly projectId: string | null;
  /** When, UTC with microseconds: `2026-11-24T10:00:00.123456Z`. */
  readonly timestamp: string;
  readonly channel: string | undefined;
  /** The cursors before this event: who resumes with them hears it again. */
  readonly before: Cursors;
}

/** Everything of a project, or everything, may be stale. */
export interface Stale {
  readonly type: 'stale';
  /** Undefined: everything. */
  readonly projectId: string | undefined;
  readonly reason: string;
  /** Only what began to be fetched before this time (ms since the epoch); undefined: all. */
  readonly fetchedBefore: number | undefined;
  /** The refetching of what is not on screen is to be spread over this time. */
  readonly spreadMs: number;
  readonly before: Cursors;
}

export type NeverstaleEvent = Change | Stale;

export type TimerName = 'session' | 'subscribe';

/**
 * `connecting`: not there yet. `live`: what changes is heard. `degraded`: there is a network, but
 * changes may go unheard. `offline`: no network, closed, or given up. `forbidden`: refused.
 */
export type Status = 'connecting' | 'live' | 'degraded' | 'offline' | 'forbidden';

export type Input =
  | { readonly is: 'want'; readonly projectIds: readonly string[] }
  | { readonly is: 'token'; readonly ask: number; readonly token: string }
  | { readonly is: 'no_token'; readonly ask: number }
  | { readonly is: 'text'; readonly text: string }
  | { readonly is: 'closed'; readonly code: number }
  | { readonly is: 'timer'; readonly name: TimerName }
  | { readonly is: 'network'; readonly isOnline: boolean }
  | { readonly is: 'visible' }
  | { readonly is: 'stop' };

/** What the pure core wants done. */
export type Effect =
  | { readonly do: 'ask_token'; readonly ask: number; readonly refresh: boolean }
  | { readonly do: 'open'; readonly token: string; readonly query: string }
  | { readonly do: 'close' }
  | { readonly do: 'send'; readonly message: ClientMessage }
  | { readonly do: 'emit'; readonly event: NeverstaleEvent }
  /** Replaces the timer of that name; undefined stops it. */
  | { readonly do: 'timer'; readonly name: TimerName; readonly ms: number | undefined }
  | { readonly do: 'warn'; readonly text: string };
