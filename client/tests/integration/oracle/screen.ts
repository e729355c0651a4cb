import type { QueryKey } from '@tanstack/query-core';

import { nameOf } from '../page.js';

/** A mutation of the app, as far as it decides what may be on the screen. */
export interface Edit {
  /** Its optimistic value stays until then. */
  isPending: boolean;
  /** Of the row when it was committed; undefined if it was not. */
  version: number | undefined;
}

/** What the app itself wrote to a row of its cache. */
export type Mark =
  | { readonly is: 'optimistic'; readonly edit: number }
  /** Older than what was shown before, and meant to be. */
  | { readonly is: 'rolled back' }
  /** It may hide the optimistic value of another mutation. */
  | { readonly is: 'response' };

/** A row as the API answers, and whose it is. */
export interface Row {
  readonly id?: string;
  readonly project_id?: string;
  readonly user_id?: string;
  readonly title?: string;
  /** Grows with each change of the row. */
  readonly version?: number;
  /** In `projects/bundle`. */
  readonly to_jsonb?: Row;
  /** Who asked for it. */
  readonly reader?: string;
  readonly mark?: Mark;
}

interface Seen {
  version: number;
  isGone: boolean;
  optimistic: number | undefined;
}

/**
 * Judges what one page shows: of each row of each query nothing older after something newer, no
 * optimistic value that flickers, and nothing that another user has read.
 */
export class Screen {
  readonly edits = new Map<number, Edit>();
  private readonly seen = new Map<string, Map<string, Seen>>();
  private isPaused = false;

  /** @param isSteady - whether all that is in flight began under the binding's eyes */
  constructor(
    private readonly user: string,
    private readonly isSteady: () => boolean,
    private readonly blame: (fault: string) => void,
  ) {}

  /** Nothing is promised while the query cache is not bound, or for fetches that began then. */
  pause(): void {
    this.isPaused = true;
    this.seen.clear();
    this.edits.clear();
  }

  show(queryKey: QueryKey, data: unknown): void {
    const rows = (data ?? []) as readonly Row[];
    const name = nameOf(queryKey);
    if (rows.some(({ reader }) => reader !== this.user)) {
      this.blame(`leak: ${name} was read by another user`);
    }
    if (this.isPaused && !this.isSteady()) return;
    this.isPaused = false;
    for (const row of rows) this.judge(queryKey, row);
    // What was rolled back may lack what was there.
    if (data === undefined || rows.some(({ mark }) => mark?.is === 'rolled back')) return;
    const shown = new Set(rows.map(idOf));
    for (const [id, last] of this.rowsOf(queryKey)) if (!shown.has(id)) last.isGone = true;
  }

  /** Whether a row is newer than what was shown of it, also optimistically, or the same. */
  isNewest(queryKey: QueryKey, row: Row): boolean {
    const last = this.rowsOf(queryKey).get(idOf(row));
    if (!last) return true;
    const committed = this.editOf(last)?.version;
    if (committed !== undefined && versionOf(row) < committed) return false;
    // A row that is gone comes back only by a change.
    return last.isGone ? versionOf(row) > last.version : versionOf(row) >= last.version;
  }

  private judge(queryKey: QueryKey, row: Row): void {
    const seen = this.rowsOf(queryKey);
    const id = idOf(row);
    const last = seen.get(id) ?? { version: -Infinity, isGone: false, optimistic: undefined };
    const { mark } = row;
    if (mark?.is === 'rolled back' || mark?.is === 'optimistic') {
      last.optimistic = mark.is === 'optimistic' ? mark.edit : undefined;
      seen.set(id, last);
      return;
    }
    const version = versionOf(row);
    const edit = this.editOf(last);
    const what = `${nameOf(queryKey)} showed version ${version}${mark ? `, a ${mark.is},` : ''} of ${id}`;
    if (edit?.isPending && mark?.is !== 'response') {
      this.blame(`flicker: ${what} before the mutation had settled`);
    }
    if (!this.isNewest(queryKey, row)) {
      this.blame(`flash: ${what} after ${JSON.stringify({ ...last, edit })}`);
    }
    seen.set(id, {
      version: Math.max(last.version, version),
      isGone: false,
      optimistic: undefined,
    });
  }

  private editOf({ optimistic }: Seen): Edit | undefined {
    return optimistic === undefined ? undefined : this.edits.get(optimistic);
  }

  private rowsOf(queryKey: QueryKey): Map<string, Seen> {
    const name = nameOf(queryKey);
    const rows = this.seen.get(name) ?? new Map<string, Seen>();
    this.seen.set(name, rows);
    return rows;
  }
}

function idOf(row: Row): string {
  return row.id ?? `${row.project_id} ${row.user_id}`;
}

function versionOf(row: Row): number {
  return (row.to_jsonb ?? row).version ?? NaN;
}
