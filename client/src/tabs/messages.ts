import type { NeverstaleEvent, Status } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';

/** The status of each wanted project, and under the empty name that of the connection. */
export type Statuses = Readonly<Record<string, Status>>;

/** What the tabs of one user say to each other. */
export type Message =
  /** A tab wants to be told everything from its place on. */
  | {
      readonly is: 'join';
      readonly tab: string;
      readonly cursors: Cursors;
      /** Nothing in its memory was fetched before, but for what was restored. */
      readonly loadedAt: number;
      readonly projectIds: readonly string[];
    }
  | { readonly is: 'want'; readonly tab: string; readonly projectIds: readonly string[] }
  /** A tab has become the one that holds the socket. */
  | { readonly is: 'lead' }
  /** What a tab that joins has missed; `next` is the number of the next event. */
  | {
      readonly is: 'welcome';
      readonly tab: string;
      readonly leader: string;
      readonly next: number;
      readonly missed: readonly NeverstaleEvent[];
      readonly cursors: Cursors;
      readonly statuses: Statuses;
    }
  | {
      readonly is: 'event';
      readonly leader: string;
      readonly number: number;
      readonly event: NeverstaleEvent;
      /** The cursors after it. */
      readonly cursors: Cursors;
    }
  | { readonly is: 'status'; readonly leader: string; readonly statuses: Statuses };
