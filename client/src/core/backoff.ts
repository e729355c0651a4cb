const BASE_MS = 1_000;
const MAX_MS = 30_000;

/**
 * Return the delay before retry number `tries` (from 0), in milliseconds. Full jitter spreads the
 * clients that were disconnected together.
 *
 * @param random - in [0, 1)
 */
export function backoffMs(tries: number, random: number): number {
  return random * Math.min(MAX_MS, BASE_MS * 2 ** tries);
}
