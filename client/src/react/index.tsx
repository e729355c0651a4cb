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

const ConnectionContext = createContext<Connection | undefined>(undefined);

export interface NeverstaleProviderProps extends Pick<
  ConnectionOptions,
  'url' | 'getToken' | 'maxTries' | 'environment'
> {
  /** The query client that is kept fresh. */
  queryClient: QueryClient;
  /**
   * Whose tabs share one socket. Read when it connects. Default: nobody's, each tab has its own.
   */
  shareTabsOf?: string;
  /** For tests. Default: the browser's own. */
  tabs?: TabsEnvironment;
  /** How. Read when it connects. */
  options?: ConnectQueryClientOptions;
  children?: ReactNode;
}

/**
 * Holds the one connection of the app, and keeps the query client fresh by it.
 *
 * Mount it where a user is signed in, and give it `key={userId}`: another user, another connection.
 */
export function NeverstaleProvider(props: NeverstaleProviderProps): ReactNode {
  const { url, queryClient, children } = props;
  const latest = useLatest(props);
  const [connection, setConnection] = useState<Connection>();

  useEffect(() => {
    const { maxTries, environment, options, shareTabsOf: userId, tabs } = latest.current;
    const connectionOptions = {
      url,
      getToken: (how: { refresh: boolean }) => latest.current.getToken(how),
      cursors: readCursors(queryClient),
      ...(maxTries !== undefined && { maxTries }),
      ...(environment !== undefined && { environment }),
    };
    const made =
      userId === undefined
        ? createConnection(connectionOptions)
        : createSharedConnection({ ...connectionOptions, userId, tabs });
    const disconnect = connectQueryClient(made, queryClient, options);
    // Made in an effect, since a render may be repeated or thrown away; its consumers wait for it.
    // eslint-disable-next-line react-hooks/set-state-in-effect
    setConnection(made);
    return () => {
      disconnect();
      made.close();
    };
  }, [url, queryClient, latest]);

  return <ConnectionContext.Provider value={connection}>{children}</ConnectionContext.Provider>;
}

/**
 * Keeps a project fresh while the component is mounted; gives the project's status.
 *
 * @param projectId - as the server spells it; without one nothing is opened
 * @param onEvent - hears all events of the connection while the component is mounted
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

/** The status of the connection as a whole. */
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
