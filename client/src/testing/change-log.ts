import { projectChannel, type Action, type Cursors } from '../core/protocol.js';
import type { Resource } from '../resources.js';

export interface TestChange {
  readonly resource: Resource;
  readonly id: string;
  /** Null if the row belongs to the user and to no project. */
  readonly projectId: string | null;
  /** Default: `UPDATE`. */
  readonly action?: Action | undefined;
  /** Whether it may have given the user access to the project. Default: false. */
  readonly access?: true | undefined;
}

/** An event or a reset of a channel, as a frame without its cursor. */
interface Entry {
  readonly channel: string;
  /** A newer entry of the same row replaces this one. */
  readonly row: string;
  readonly frame: object;
}

/** Where a client continues: after a cursor, or with what was fetched at this time. */
export interface Since {
  readonly cursor: string | undefined;
  readonly loadedAt: number | undefined;
}

export interface Replay {
  readonly channel: string;
  readonly cursor: string;
  readonly isResumed: boolean;
  readonly frames: readonly object[];
}

/** The logs of all channels: they know what a client missed, or that nobody can tell. */
export class ChangeLog {
  private entries: (Entry & { readonly offset: number; readonly at: number })[] = [];
  private generation = 1;
  private last = 1;
  private completeSince = -Infinity;

  /** Append an entry to its channel's log, and return its frame. */
  append(entry: Entry, now: number): object {
    this.last += 1;
    this.entries = this.entries.filter(
      ({ channel, row }) => channel !== entry.channel || row !== entry.row,
    );
    this.entries.push({ ...entry, offset: this.last, at: now });
    return this.withCursor(entry, this.last);
  }

  /** Begin a new generation, in which every older cursor is a gap. */
  reset(now: number): void {
    this.entries = [];
    this.generation += 1;
    this.completeSince = now;
  }

  cursors(channels: readonly string[]): Cursors {
    return Object.fromEntries(channels.map((channel) => [channel, this.cursor(channel)]));
  }

  replay(channel: string, since: Since): Replay {
    const after = this.offset(channel, since);
    const isResumed = after !== undefined;
    const missed = this.entries.filter(
      (entry) => entry.channel === channel && entry.offset > (after ?? this.last),
    );
    return {
      channel,
      cursor: this.cursor(channel, after),
      isResumed,
      frames: missed.map((entry) => this.withCursor(entry, entry.offset)),
    };
  }

  private offset(channel: string, { cursor, loadedAt }: Since): number | undefined {
    if (cursor !== undefined) {
      const offset = Number(cursor.slice(cursor.lastIndexOf('.') + 1));
      return cursor === this.cursor(channel, offset) ? offset : undefined;
    }
    if (loadedAt === undefined || loadedAt < this.completeSince) return undefined;
    const first = this.entries.find((entry) => entry.at >= loadedAt);
    return first === undefined ? this.last : first.offset - 1;
  }

  private cursor(channel: string, offset = this.last): string {
    return `${channel}.${this.generation}.test.${offset}`;
  }

  private withCursor({ channel, frame }: Entry, offset: number): object {
    const cursor = this.cursor(channel, offset);
    const { type } = frame as { type: string };
    return type === 'reconnect'
      ? { ...frame, cursors: { [channel]: cursor } }
      : { ...frame, channel, cursor };
  }
}

/** An event. One that may have given access, or that has no project, is on the user's channel. */
export function changeEntry(change: TestChange, userChannel: string, now: number): Entry {
  const { resource, id, projectId, action = 'UPDATE', access } = change;
  const timestamp = new Date(now).toISOString().replace('Z', '000Z');
  return {
    channel: projectId === null || access ? userChannel : projectChannel(projectId),
    row: JSON.stringify([resource, id]),
    frame: {
      type: 'cache_invalidate',
      resource,
      action,
      project_id: projectId,
      ...(access && { access }),
      data: { resource, id, action, project_id: projectId, timestamp },
    },
  };
}

export function resetEntry(projectId: string, reason: string): Entry {
  return {
    channel: projectChannel(projectId),
    row: 'reset',
    frame: { type: 'reconnect', data: { reason }, project_id: projectId },
  };
}
