import type { ConnectionInfo } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';

/** The status of each wanted project, and under the empty key that of the connection. */
export type Statuses = Readonly<Record<string, Status>>;

/** What a tab shows of the leader's connection. */
export interface State {
  readonly statuses: Statuses;
  readonly info: ConnectionInfo;
}

/** A message between the tabs of one user. */
export type Message =
  /** A tab asks for all events after its cursors. */
  | {
      readonly is: 'join';
      readonly tab: string;
      readonly cursors: Cursors;
      /** When the page loaded: only data restored from storage is older. */
      readonly loadedAt: number;
      readonly projectIds: readonly string[];
    }
  | { readonly is: 'want'; readonly tab: string; readonly projectIds: readonly string[] }
  /** A tab's app wants the leader to connect. */
  | { readonly is: 'connect' | 'reconnect' }
  /** A tab became the leader. */
  | { readonly is: 'lead' }
  /** The leader's answer to `join`: the missed events; `next` is the number of the next event. */
  | ({
      readonly is: 'welcome';
      readonly tab: string;
      readonly leader: string;
      readonly next: number;
      readonly missed: readonly NeverstaleEvent[];
      readonly cursors: Cursors;
    } & State)
  | {
      readonly is: 'event';
      readonly leader: string;
      readonly number: number;
      readonly event: NeverstaleEvent;
      /** The cursors after the event. */
      readonly cursors: Cursors;
    }
  | ({ readonly is: 'status'; readonly leader: string } & State);
