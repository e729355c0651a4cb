import type { QueryClient } from '@tanstack/query-core';

import type { Connection } from '../connection.js';
import { isOurs } from './stored-cursors.js';

/** What stands in for events while they can't be relied on. */
export interface FallbackOptions {
  /** Refetch what is in use this often, in milliseconds. Default: not. */
  everyMs?: number;
  /** Refetch what is in use when the window gets the focus. Default: not. */
  onFocus?: boolean;
}

/** Refetches what is in use while the connection is degraded or gone; gives what ends it. */
export function fallBack(
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
