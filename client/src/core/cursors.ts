import { isUserChannel, type Cursors } from './protocol.js';

/** Dropping a cursor costs only precision: opening its project again marks more queries stale. */
const MAX_CURSORS = 200;

/** Set a channel's cursor; above the limit, drop the least recently updated project's. */
export function withCursor(cursors: Cursors, channel: string, cursor: string): Cursors {
  const others = withoutCursor(cursors, channel);
  const names = Object.keys(others);
  const oldest = names.find((name) => !isUserChannel(name));
  const isFull = names.length >= MAX_CURSORS && oldest !== undefined;
  return { ...(isFull ? withoutCursor(others, oldest) : others), [channel]: cursor };
}

export function withoutCursor(cursors: Cursors, channel: string): Cursors {
  return Object.fromEntries(Object.entries(cursors).filter(([name]) => name !== channel));
}
