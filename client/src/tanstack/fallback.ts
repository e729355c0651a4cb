import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import type { FallbackOptions } from './options.js';
import { isOurs } from './stored-cursors.js';

/** Refetch the queries in use while events may be missed; returns a function that stops it. */
export function startFallback(
  connection: Connection,
  client: QueryClient,
  { everyMs, onFocus = false }: FallbackOptions,
): () => void {
  const { environment } = connection;
  let stopTimer: (() => void) | undefined;

  const isDegraded = (): boolean => ['degraded', 'offline'].includes(connection.status());
  const refetch = (): void => {
    const predicate = (query: Parameters<typeof isOurs>[0]): boolean => !isOurs(query);
    void client.refetchQueries({ type: 'active', predicate }, { cancelRefetch: false });
  };
  const poll = (): void => {
    if (everyMs === undefined || stopTimer || !isDegraded()) return;
    stopTimer = environment.setTimer(() => {
      stopTimer = undefined;
      if (isDegraded()) refetch();
      poll();
    }, everyMs);
  };

  const stopStatus = connection.onStatus(poll);
  const stopSignals = environment.onSignal((signal) => {
    if (onFocus && signal === 'focus' && isDegraded()) refetch();
  });
  poll();
  return () => {
    stopStatus();
    stopSignals();
    stopTimer?.();
  };
}
