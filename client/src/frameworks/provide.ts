import { createConnection, type Connection, type ConnectionOptions } from '../connection.js';
import { browserEnvironment } from '../environment.js';
import type { TabsEnvironment } from '../tabs/index.js';
import {
  connectQueryClient,
  readCursors,
  type AnyQueryClient,
  type ConnectQueryClientOptions,
} from '../tanstack/index.js';
import { startAfter, type RestoringCache } from './start-after.js';

/** What the provider of each framework takes. */
export interface ProviderOptions extends Pick<
  ConnectionOptions,
  'url' | 'getToken' | 'maxTries' | 'sse' | 'debug' | 'environment'
> {
  /** The query client to keep fresh. */
  queryClient: AnyQueryClient;
  /** Id of the user whose tabs share one socket. Default: one socket per tab. */
  shareTabsOf?: string | undefined;
  /** For tests. Default: Web Locks and BroadcastChannel. */
  tabs?: TabsEnvironment | undefined;
  /** Options of `connectQueryClient`; changes apply from the next event on. */
  options?: ConnectQueryClientOptions | undefined;
  /**
   * Restores and saves the cache: `() => persistQueryClient({ ... })`. Called in the browser only,
   * when the provider is mounted; it connects when the cache is restored. Default: no persistence.
   */
  persist?: (() => RestoringCache) | undefined;
}

/**
 * Connects once the cache is restored, and keeps the query client fresh until the returned function
 * is called.
 *
 * @param read - returns the current options. `getToken` and `options` are read at each use, the
 *   others once
 * @param onConnection - called with the connection when it is created, at once unless there is a
 *   cache to restore or tabs share the connection
 */
export function provide(
  read: () => ProviderOptions,
  onConnection: (connection: Connection) => void,
): () => void {
  return startAfter(read().persist?.(), () => connect(read, onConnection));
}

function connect(
  read: () => ProviderOptions,
  onConnection: (connection: Connection) => void,
): () => void {
  const { url, maxTries, sse, debug, environment, queryClient, shareTabsOf: userId, tabs } = read();
  let stop: (() => void) | undefined;
  let isStopped = false;

  function start(create: (options: ConnectionOptions) => Connection): void {
    if (isStopped) return;
    const connection = create({
      url,
      maxTries,
      sse,
      debug,
      environment,
      getToken: (how) => read().getToken(how),
      cursors: readCursors(queryClient),
    });
    const disconnect = connectQueryClient(connection, queryClient, latestOptions(read));
    stop = () => {
      disconnect();
      connection.close();
    };
    onConnection(connection);
  }

  if (userId === undefined) {
    start(createConnection);
  } else {
    // Loaded on demand, so that only apps that share tabs download it.
    void import('../tabs/index.js').then(
      ({ createSharedConnection }) => {
        start((options) => createSharedConnection({ ...options, userId, tabs }));
      },
      (error: unknown) => {
        (environment ?? browserEnvironment()).warn('tabs are not shared: no code for it', error);
        start(createConnection);
      },
    );
  }
  return () => {
    isStopped = true;
    stop?.();
  };
}

/** Returns the id of the project to open; undefined if none was given. */
export function toProjectId(given: string | null | undefined): string | undefined {
  return given === '' || given === null ? undefined : given;
}

/** A view of the current options, for code that reads each option when it needs it. */
function latestOptions(read: () => ProviderOptions): ConnectQueryClientOptions {
  return new Proxy<ConnectQueryClientOptions>(
    {},
    { get: (_, name) => Reflect.get(read().options ?? {}, name) as unknown },
  );
}
