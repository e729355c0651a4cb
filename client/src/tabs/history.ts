import type { NeverstaleEvent, Stale } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';

/** Between the clocks of two tabs. */
const SLACK_MS = 1_000;
/** Older events are forgotten: tabs that missed them take everything as stale. */
const MOST_EVENTS = 500;

/** The events that a tab has heard since it leads, for tabs that join. */
export class History {
  private events: { readonly event: NeverstaleEvent; readonly at: number }[] = [];

  /** @param completeSince - no event was heard since then that is not here */
  constructor(private completeSince: number) {}

  add(event: NeverstaleEvent, now: number): void {
    this.events.push({ event, at: now });
    if (this.events.length <= MOST_EVENTS) return;
    const [oldest] = this.events.splice(0, 1);
    this.completeSince = (oldest?.at ?? now) + 1;
  }

  /**
   * The events that bring a tab from its cursors to these.
   *
   * A tab whose cursors are not in the history was not told what it held before it was loaded. But
   * what it fetched since then it fetched from the same database: of the events before that only
   * those can matter that are heard later, and it hears them.
   */
  missed(cursors: Cursors, loadedAt: number, newest: Cursors): NeverstaleEvent[] {
    if (isSame(cursors, newest)) return [];
    const first = this.events.findIndex(({ event }) => isSame(event.before, cursors));
    const isLoadedSince = loadedAt - SLACK_MS >= this.completeSince;
    const isNew = Object.keys(cursors).length === 0;
    if (first >= 0 && !(isNew && isLoadedSince)) {
      return this.events.slice(first).map(({ event }) => event);
    }
    if (!isLoadedSince) return [everythingStale(cursors)];
    const since = this.events.filter(({ at }) => at >= loadedAt - SLACK_MS);
    return [everythingStale(cursors, loadedAt), ...since.map(({ event }) => event)];
  }
}

export function everythingStale(before: Cursors, fetchedBefore?: number): Stale {
  const all = { projectId: undefined, spreadMs: 0, reason: 'gap' };
  return { type: 'stale', ...all, fetchedBefore, before };
}

function isSame(one: Cursors, other: Cursors): boolean {
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
  );
}
