'use client';

import type { QueryClient } from '@tanstack/query-core';
import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
  type ReactNode,
} from 'react';

import { createConnection, type Connection, type ConnectionOptions } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import { createSharedConnection, type TabsEnvironment } from '../tabs/index.js';
import {
  connectQueryClient,
  readCursors,
  type ConnectQueryClientOptions,
} from '../tanstack/index.js';
import { startAfter, type RestoringCache } from './start-after.js';

const ConnectionContext = createContext<Connection | undefined>(undefined);

export interface NeverstaleProviderProps extends Pick<
  ConnectionOptions,
  'url' | 'getToken' | 'maxTries' | 'environment'
> {
  /** The query client to keep fresh. */
  queryClient: QueryClient;
  /**
   * Id of the user whose tabs share one socket. Read when it connects. Default: one socket per tab.
   */
  shareTabsOf?: string;
  /** For tests. Default: Web Locks and BroadcastChannel. */
  tabs?: TabsEnvironment;
  /** Options of `connectQueryClient`. Read when it connects. */
  options?: ConnectQueryClientOptions;
  /**
   * Restores and saves the cache: `() => persistQueryClient({ ... })`. Called in the browser only,
   * when the provider is mounted; it connects when the cache is restored. Default: no persistence.
   */
  persist?: (() => RestoringCache) | undefined;
  children?: ReactNode;
}

/**
 * Provides the app's connection and keeps the query client fresh with its events.
 *
 * Mount it where a user is signed in, with `key={userId}` so that each user gets a new connection.
 */
export function NeverstaleProvider(props: NeverstaleProviderProps): ReactNode {
  const { url, queryClient, children } = props;
  const latest = useLatest(props);
  const [connection, setConnection] = useState<Connection>();

  useEffect(() => {
    const connect = (): (() => void) => {
      const { maxTries, environment, options, shareTabsOf: userId, tabs } = latest.current;
      const connectionOptions = {
        url,
        getToken: (how: { refresh: boolean }) => latest.current.getToken(how),
        cursors: readCursors(queryClient),
        ...(maxTries !== undefined && { maxTries }),
        ...(environment !== undefined && { environment }),
      };
      const created =
        userId === undefined
          ? createConnection(connectionOptions)
          : createSharedConnection({ ...connectionOptions, userId, tabs });
      const disconnect = connectQueryClient(created, queryClient, options);
      // Created in an effect because React may repeat or discard a render.

      setConnection(created);
      return () => {
        disconnect();
        created.close();
      };
    };
    return startAfter(latest.current.persist?.(), connect);
  }, [url, queryClient, latest]);

  return <ConnectionContext.Provider value={connection}>{children}</ConnectionContext.Provider>;
}

/**
 * Subscribes to a project while the component is mounted, and returns the project's status.
 *
 * @param projectId - the id as the server writes it; null, undefined or empty: open no project and
 *   return the connection's status
 * @param onEvent - called on every event of the connection while the component is mounted
 */
export function useNeverstale(
  projectId: string | null | undefined,
  onEvent?: (event: NeverstaleEvent) => void,
): Status {
  const connection = useContext(ConnectionContext);
  const latest = useLatest(onEvent);
  useEffect(() => (projectId ? connection?.open(projectId) : undefined), [connection, projectId]);
  useEffect(() => connection?.subscribe((event) => latest.current?.(event)), [connection, latest]);
  return useStatus(connection, projectId ?? undefined);
}

/** Returns the status of the connection as a whole. */
export function useConnectionStatus(): Status {
  return useStatus(useContext(ConnectionContext), undefined);
}

function useStatus(connection: Connection | undefined, projectId: string | undefined): Status {
  const subscribe = useCallback(
    (listener: () => void) => connection?.onStatus(listener) ?? (() => undefined),
    [connection],
  );
  return useSyncExternalStore(
    subscribe,
    () => connection?.status(projectId) ?? 'connecting',
    () => 'connecting',
  );
}

function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}

export type { RestoringCache } from './start-after.js';
