import { browserEnvironment, type Environment, type EnvironmentSignal } from '../environment.js';
import { makeListeners } from '../listeners.js';
import { ChangeLog, changeEntry, resetEntry, type TestChange } from './change-log.js';
import { CONNECTION_LOST, ServerSocket, type Gateway } from './server-socket.js';

export type { TestChange } from './change-log.js';

export interface TestServerOptions {
  /** The user of its clients. Default: `user`. */
  userId?: string | undefined;
}

export interface TestClient {
  readonly token: string;
  /** The projects that it is subscribed to. */
  readonly projectIds: readonly string[];
}

/**
 * A gateway in memory, for tests of an app. Like a real one it answers asynchronously, though
 * without timers: after each call wait for what the app then shows.
 */
export interface TestServer {
  /** The environment of the connections that it serves. */
  readonly environment: Environment;
  /** Any other URL leads here, too. */
  readonly url: string;
  /** A row changes. Clients that are away learn of it when they are back. */
  readonly change: (change: TestChange) => void;
  /** Everything, or everything of a project, may be stale. Default reason: `gap`. */
  readonly reset: (reason?: string, projectId?: string) => void;
  /** Closes every socket; clients may connect again. Default: 1006, a lost connection. */
  readonly close: (code?: number) => void;
  /** The user loses access to a project. */
  readonly refuse: (projectId: string) => void;
  /** The user gets access to a refused project. */
  readonly allow: (projectId: string) => void;
  /** Closes every socket and refuses all, until `start`. */
  readonly stop: () => void;
  readonly start: () => void;
  /** Whether changes arrive as they happen. If not, clients are `degraded`. */
  readonly setLive: (isLive: boolean) => void;
  /** Whether there is a network. Without it every socket is closed. */
  readonly setOnline: (isOnline: boolean) => void;
  /** Whether the page is visible. */
  readonly setVisible: (isVisible: boolean) => void;
  /** The window gets the focus. */
  readonly focus: () => void;
  /** The clients that are connected. */
  readonly clients: () => readonly TestClient[];
}

export function createTestServer(options: TestServerOptions = {}): TestServer {
  const { userId = 'user' } = options;
  const userChannel = `user:${userId}`;
  const log = new ChangeLog();
  const refused = new Set<string>();
  const browser = browserEnvironment();
  const signals = makeListeners<EnvironmentSignal>((text, error) => {
    browser.warn(text, error);
  });
  let sockets: ServerSocket[] = [];
  let isStarted = true;
  let isLive = true;
  let isOnline = true;
  let isVisible = true;

  const environment: Environment = {
    ...browser,
    fetch: undefined,
    // Retry soon, but not in a loop without end: after 10 ms at first, after 300 ms at most.
    random: () => 0.01,
    baseUrl: 'https://app.test/',
    loadedAt: Date.now(),
    isOnline: () => isOnline,
    isVisible: () => isVisible,
    onSignal: signals.add,
    openSocket(url, protocols, listener) {
      const socket = new ServerSocket(gateway, new URL(url).searchParams, protocols, listener);
      sockets = [...sockets, socket];
      return socket;
    },
  };
  const now = (): number => environment.now();
  const gateway: Gateway = {
    userChannel,
    log,
    refused,
    isReachable: () => isStarted && isOnline,
    isLive: () => isLive,
    now,
  };

  function eachSocket(call: (socket: ServerSocket) => void): void {
    sockets = sockets.filter(({ isOpen }) => isOpen);
    sockets.forEach(call);
  }

  function publish(entry: Parameters<ChangeLog['append']>[0]): void {
    const frame = log.append(entry, now());
    eachSocket((socket) => {
      if (socket.channels.includes(entry.channel)) socket.deliver(frame);
    });
  }

  function close(code: number = CONNECTION_LOST): void {
    eachSocket((socket) => {
      socket.end(code);
    });
  }

  return {
    environment,
    url: 'wss://live.test/api/v1/messages/ws',
    change(change) {
      publish(changeEntry(change, userChannel, now()));
    },
    reset(reason = 'gap', projectId) {
      if (projectId !== undefined) {
        publish(resetEntry(projectId, reason));
        return;
      }
      log.reset(now());
      eachSocket((socket) => {
        const cursors = log.cursors(socket.channels);
        socket.deliver({ type: 'reconnect', data: { reason }, spread_ms: 0, cursors });
      });
    },
    close,
    refuse(projectId) {
      refused.add(projectId);
      eachSocket((socket) => {
        socket.revoke(projectId);
      });
    },
    allow(projectId) {
      refused.delete(projectId);
      const member = { resource: 'project_members', id: `${projectId}:${userId}`, projectId };
      publish(changeEntry({ ...member, action: 'INSERT', access: true }, userChannel, now()));
    },
    stop() {
      isStarted = false;
      close();
    },
    start() {
      isStarted = true;
    },
    setLive(live) {
      isLive = live;
      eachSocket((socket) => {
        socket.deliver({ type: 'status', live });
      });
    },
    setOnline(online) {
      isOnline = online;
      if (!online) close();
      signals.notify(online ? 'online' : 'offline');
    },
    setVisible(visible) {
      isVisible = visible;
      if (visible) signals.notify('visible');
    },
    focus() {
      signals.notify('focus');
    },
    clients() {
      const connected = sockets.filter((socket) => socket.isOpen && socket.isConnected);
      return connected.map(({ token, projects }) => ({ token, projectIds: [...projects] }));
    },
  };
}
