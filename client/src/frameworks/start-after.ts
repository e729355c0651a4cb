/** A cache that is being restored, and saved from then on: what `persistQueryClient` returns. */
export interface RestoringCache {
  readonly restored: Promise<void>;
  readonly stop: () => void;
}

/**
 * Start once the cache is restored, or at once if there is none.
 *
 * @param start - returns a function that stops what it started
 * @returns a function that stops everything
 */
export function startAfter(cache: RestoringCache | undefined, start: () => () => void): () => void {
  if (cache === undefined) return start();
  let isStopped = false;
  let stop: (() => void) | undefined;
  void cache.restored.then(() => {
    if (!isStopped) stop = start();
  });
  return () => {
    isStopped = true;
    stop?.();
    cache.stop();
  };
}
