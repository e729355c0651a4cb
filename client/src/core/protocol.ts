/** The neverstale.v1 frames; no other client module knows their format. See docs/wire.md. */

export const SUBPROTOCOL = 'neverstale.v1';

/** The newest known cursor of each channel (`project:<id>`, `user:<id>`). Cursors are opaque. */
export type Cursors = Readonly<Record<string, string>>;

export type Action = 'INSERT' | 'UPDATE' | 'DELETE';

export type ErrorCode =
  | 'bad_request'
  | 'unauthorized'
  | 'token_expired'
  | 'forbidden'
  | 'rate_limited'
  | 'too_many_subscriptions'
  | 'too_many_connections'
  | 'unavailable';

export type ServerFrame =
  | {
      type: 'cache_invalidate';
      resource: string;
      action: Action;
      /** Null if the row belongs to the user and to no project. */
      project_id: string | null;
      /** On a `user:` channel: the user may have gained or lost access to the project. */
      access?: true;
      data: { id: string; timestamp: string };
      channel?: string;
      cursor?: string;
    }
  | {
      type: 'reconnect';
      data: { reason: string };
      project_id?: string;
      spread_ms?: number;
      cursors?: Cursors;
    }
  | { type: 'connected'; cursors: Cursors; resumed: readonly string[]; heartbeat: number }
  | { type: 'subscribed'; project_id: string; cursor: string; resumed: boolean }
  | { type: 'unsubscribed'; project_id: string; reason: string }
  | { type: 'status'; live: boolean }
  | { type: 'token_expiring'; in: number }
  | { type: 'auth_ok'; expires_in: number }
  | { type: 'error'; code: ErrorCode; message: string; project_id?: string }
  | { type: 'pong' };

export type ClientMessage =
  | { type: 'subscribe'; project_id: string; since?: string; age?: number }
  | { type: 'unsubscribe'; project_id: string }
  /** The adapter adds the newest `token`. */
  | { type: 'auth' }
  | { type: 'ping' };

/** Codes of a Close frame. */
export const DRAINING = 1012;
export const BAD_REQUEST = 4400;
export const UNAUTHORIZED = 4401;
export const FORBIDDEN = 4403;

/** Parse a text message. Throws if it is none of a server's; fields are not checked. */
export function parseFrame(text: string): ServerFrame {
  const frame = JSON.parse(text) as Partial<ServerFrame> | null;
  if (typeof frame?.type !== 'string') throw new TypeError('malformed frame');
  return frame as ServerFrame;
}

export function projectChannel(projectId: string): string {
  return `project:${projectId}`;
}

/** Return the project of a channel; undefined for a user's. */
export function projectOf(channel: string): string | undefined {
  return isUserChannel(channel) ? undefined : channel.slice(projectChannel('').length);
}

export function isUserChannel(channel: string): boolean {
  return channel.startsWith('user:');
}
