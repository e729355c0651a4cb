import type { Stale } from '../core/events.js';

const REASONS = new Map(
  Object.entries({
    access_changed: 'You may have gained or lost access to it.',
    bad_request: 'The server does not take its id for that of a project.',
    bulk_change: 'More rows changed at once than are listed one by one.',
    forbidden: 'You have no access to it.',
    gap: 'The server cannot prove that nothing was missed before: there was no cursor, or it was too old.',
    lagged: 'This client read too slowly.',
    log_full: 'Changes were not captured for a while.',
    log_lost: 'The server lost its log of the changes.',
    notify_reconnect: 'A NOTIFY of the database may have been lost.',
    revoked: 'You have lost the access to it.',
    truncate: 'A table was emptied by TRUNCATE.',
  }),
);

/** Say why a reset came, in a sentence. */
export function explainReset({ reason }: Stale): string {
  return REASONS.get(reason) ?? `Reason: ${reason}.`;
}

/** Format the time of day, with milliseconds. */
export function clock(at: number): string {
  const date = new Date(at);
  const pad = (value: number, digits: number): string => String(value).padStart(digits, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => pad(part, 2));
  return `${time.join(':')}.${pad(date.getMilliseconds(), 3)}`;
}

/** Format a duration in its largest unit: `12 s`, `3 min`, `2 h`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

export function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}
