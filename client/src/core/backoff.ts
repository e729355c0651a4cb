const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/**
 * How long to wait before try number `tries` (from 0), in milliseconds: full jitter, so that those
 * who were cut off together do not come back together.
 *
 * @param random - in [0, 1)
 */
export function backoffMs(tries: number, random: number): number {
  return random * Math.min(LONGEST_MS, FIRST_MS * 2 ** tries);
}
