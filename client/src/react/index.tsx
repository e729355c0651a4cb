'use client';

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

import type { Connection } from '../connection.js';
import type { NeverstaleEvent, Status } from '../core/events.js';
import { provide, toProjectId, type ProviderOptions } from '../frameworks/provide.js';

/** Null without a provider; undefined until the provider has connected. */
const ConnectionContext = createContext<Connection | null | undefined>(null);

export interface NeverstaleProviderProps extends ProviderOptions {
  children?: ReactNode;
}

/**
 * Provides the app's connection and keeps the query client fresh with its events.
 *
 * Mount it where a user is signed in, with `key={userId}` so that each user gets a new connection.
 * Another `url`, `queryClient` or `shareTabsOf` makes a new connection, too.
 */
export function NeverstaleProvider(props: NeverstaleProviderProps): ReactNode {
  const { url, queryClient, shareTabsOf, children } = props;
  const latest = useLatest(props);
  const [connection, setConnection] = useState<Connection>();

  useEffect(() => {
    // Created in an effect because React may repeat or discard a render.
    const stop = provide(() => latest.current, setConnection);
    return () => {
      stop();
      setConnection(undefined);
    };
  }, [url, queryClient, shareTabsOf, latest]);

  return <ConnectionContext.Provider value={connection}>{children}</ConnectionContext.Provider>;
}

/**
 * Returns the connection of the provider above, e.g. for `reconnect()`; undefined until it exists:
 * in the first render and on a server.
 */
export function useConnection(): Connection | undefined {
  const connection = useContext(ConnectionContext);
  if (connection === null) {
    throw new Error('neverstale: render <NeverstaleProvider> above the component of this hook');
  }
  return connection;
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
  const connection = useConnection();
  const latest = useLatest(onEvent);
  const id = toProjectId(projectId);
  useEffect(() => (id === undefined ? undefined : connection?.open(id)), [connection, id]);
  useEffect(() => connection?.subscribe((event) => latest.current?.(event)), [connection, latest]);
  return useStatus(connection, id);
}

/** Returns the status of the connection as a whole. */
export function useConnectionStatus(): Status {
  return useStatus(useConnection(), undefined);
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

export type { ProviderOptions } from '../frameworks/provide.js';
export type { RestoringCache } from '../frameworks/start-after.js';
