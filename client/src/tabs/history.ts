import type { NeverstaleEvent, Stale } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';

/** Tolerated difference between the clocks of two tabs. */
const CLOCK_SKEW_MS = 1_000;
/** Older events are dropped; a tab that missed them gets a reset of everything. */
const MAX_EVENTS = 500;

/** The events received by the leader tab, for replay to tabs that join. */
export class History {
  private events: { readonly event: NeverstaleEvent; readonly at: number }[] = [];

  /** @param completeSince - every event received since this time is in the history */
  constructor(private completeSince: number) {}

  add(event: NeverstaleEvent, now: number): void {
    this.events.push({ event, at: now });
    if (this.events.length <= MAX_EVENTS) return;
    const [oldest] = this.events.splice(0, 1);
    this.completeSince = (oldest?.at ?? now) + 1;
  }

  /**
   * Return the events that bring a tab from its cursors to the newest ones.
   *
   * If the history does not contain the tab's cursors, data that it restored from storage may be
   * stale. Data that it fetched since it loaded can be stale only because of events received since
   * then, and those are replayed.
   */
  missed(cursors: Cursors, loadedAt: number, newest: Cursors): NeverstaleEvent[] {
    if (isSame(cursors, newest)) return [];
    const first = this.events.findIndex(({ event }) => isSame(event.before, cursors));
    const isLoadedSince = loadedAt - CLOCK_SKEW_MS >= this.completeSince;
    const isNew = Object.keys(cursors).length === 0;
    if (first >= 0 && !(isNew && isLoadedSince)) {
      return this.events.slice(first).map(({ event }) => event);
    }
    if (!isLoadedSince) return [everythingStale(cursors)];
    const since = this.events.filter(({ at }) => at >= loadedAt - CLOCK_SKEW_MS);
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
