import type { Action, ClientMessage, Cursors } from './protocol.js';

/** A row changed. */
export interface Change {
  readonly type: 'change';
  readonly resource: string;
  /** The row's id as text; for `project_members`, `<project_id>:<user_id>`. */
  readonly id: string;
  readonly action: Action;
  /** Null if the row belongs to the user and to no project. */
  readonly projectId: string | null;
  /** Time of the change, in UTC with microseconds: `2026-11-24T10:00:00.123456Z`. */
  readonly timestamp: string;
  readonly channel: string | undefined;
  /** The cursors before this event: resuming from them replays it. */
  readonly before: Cursors;
}

/** A reset: everything in one project, or everything, may be stale. */
export interface Stale {
  readonly type: 'stale';
  /** Undefined if everything may be stale. */
  readonly projectId: string | undefined;
  readonly reason: string;
  /** Only data whose fetch began before this time (ms since the epoch) is stale; undefined: all. */
  readonly fetchedBefore: number | undefined;
  /** Hidden pages spread their refetches randomly over this time. */
  readonly spreadMs: number;
  /** The cursors before this event: resuming from them yields it again. */
  readonly before: Cursors;
}

export type NeverstaleEvent = Change | Stale;

export type TimerName = 'session' | 'subscribe' | 'token';

/**
 * `connecting`: not connected yet. `live`: every change arrives. `degraded`: online, but changes
 * may be missed. `offline`: no network, disconnected, or no attempts left. `forbidden`: access
 * denied. `unauthorized`: nobody is signed in; terminal until `reconnect()`.
 */
export type Status = 'connecting' | 'live' | 'degraded' | 'offline' | 'forbidden' | 'unauthorized';

export type Input =
  | { readonly is: 'want'; readonly projectIds: readonly string[] }
  /** The adapter has the newest token; it stays there. */
  | { readonly is: 'token'; readonly ask: number }
  /** Without an error: nobody is signed in. */
  | { readonly is: 'no_token'; readonly ask: number; readonly error: string | undefined }
  | { readonly is: 'text'; readonly text: string }
  /** The socket closed or failed; `code`: of a Close frame, `error`: for the developer. */
  | { readonly is: 'closed'; readonly code?: number; readonly error: string }
  | { readonly is: 'timer'; readonly name: TimerName }
  | { readonly is: 'online' | 'offline' | 'visible' | 'connect' | 'disconnect' | 'reconnect' };

/** An action that the pure core asks its adapter to perform. */
export type Effect =
  | { readonly do: 'ask_token'; readonly ask: number; readonly refresh: boolean }
  /** Open a socket with the newest token. */
  | { readonly do: 'open'; readonly query: string }
  /** Close the socket, if there is one, and cancel all timers. */
  | { readonly do: 'close' }
  | { readonly do: 'send'; readonly message: ClientMessage }
  | { readonly do: 'emit'; readonly event: NeverstaleEvent }
  /** Replaces the timer with that name; `undefined` cancels it. */
  | { readonly do: 'timer'; readonly name: TimerName; readonly ms: number | undefined }
  | { readonly do: 'warn'; readonly text: string };
