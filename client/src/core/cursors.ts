import { isUserChannel, type Cursors } from './protocol.js';

/** A cursor that is dropped only costs precision when its project comes back. */
const MOST_CURSORS = 200;

/** The cursors with a newer one of a channel; beyond a bound the longest unheard project's goes. */
export function withCursor(cursors: Cursors, channel: string, cursor: string): Cursors {
  const others = withoutCursor(cursors, channel);
  const names = Object.keys(others);
  const oldest = names.find((name) => !isUserChannel(name));
  const kept =
    names.length >= MOST_CURSORS && oldest !== undefined ? withoutCursor(others, oldest) : others;
  return { ...kept, [channel]: cursor };
}

export function withoutCursor(cursors: Cursors, channel: string): Cursors {
  return Object.fromEntries(Object.entries(cursors).filter(([name]) => name !== channel));
}
