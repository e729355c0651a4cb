import type { Effect, Input, NeverstaleEvent, Status, TimerName } from './core/events.js';
import { SUBPROTOCOL, type Cursors } from './core/protocol.js';
import { Session } from './core/session.js';
import { browserEnvironment, type Environment, type Socket } from './environment.js';
import { makeListeners } from './listeners.js';
import { countProjectRefs } from './project-refs.js';

export interface ConnectionOptions {
  /**
   * The gateway's WebSocket endpoint, e.g. `wss://live.example.com/api/v1/messages/ws`. In a
   * browser, a path on the page's host works too. `http` is replaced by `ws`.
   */
  url: string;
  /**
   * Returns the user's JWT. Called before each connection attempt and before the token expires.
   *
   * @param how - `refresh`: the last token was rejected or expires soon, so do not return a cached
   *   one
   */
  getToken: (how: { refresh: boolean }) => string | Promise<string>;
  /** A project to open immediately; its id is written as the server writes it. Default: none. */
  projectId?: string;
  /** Cursors up to which all cached data is known to be fresh. Default: none. */
  cursors?: Cursors;
  /**
   * After this many failed attempts in a row, retry only when the network returns, the page becomes
   * visible or the open projects change. Default: no limit; attempts are at most 30 s apart.
   */
  maxTries?: number;
  /** For tests and for runtimes other than a browser. Default: `browserEnvironment()`. */
  environment?: Environment;
}

/** One WebSocket to the gateway, shared by any number of projects. */
export interface Connection {
  /**
   * Subscribes to a project; the returned function releases it. Calls are ref-counted: the project
   * stays subscribed until every caller has released it.
   */
  readonly open: (projectId: string) => () => void;
  /**
   * Calls the listener on each event, in order, until the returned function is called. A listener
   * added in the tick that created the connection misses no event.
   */
  readonly subscribe: (listener: (event: NeverstaleEvent) => void) => () => void;
  /** The status of a project, or of the connection as a whole. */
  readonly status: (projectId?: string) => Status;
  /** Calls the listener when any status may have changed; returns a function that removes it. */
  readonly onStatus: (listener: () => void) => () => void;
  /** The newest cursor of each channel. */
  readonly cursors: () => Cursors;
  /** Closes the connection permanently. */
  readonly close: () => void;
  readonly environment: Environment;
}

/**
 * Connects to a gateway and reconnects as needed.
 *
 * A connection belongs to one user: close it at sign-out and create another for the next user.
 */
export function createConnection(options: ConnectionOptions): Connection {
  const environment = options.environment ?? browserEnvironment();
  const session = new Session(options.cursors ?? {}, options.maxTries ?? Infinity);
  const events = makeListeners<NeverstaleEvent>();
  const statuses = makeListeners<undefined>();
  const projects = countProjectRefs(updateProjects);
  const timers = new Map<TimerName, () => void>();
  let socket: Socket | undefined;
  let isClosed = false;
  let lastProjects: string | undefined;

  function updateProjects(): void {
    const projectIds = projects.wanted();
    if (isClosed || lastProjects === JSON.stringify(projectIds)) return;
    lastProjects = JSON.stringify(projectIds);
    handle({ is: 'want', projectIds });
  }

  function handle(input: Input): void {
    for (const effect of session.handle(input, environment.now(), environment.random())) {
      perform(effect);
    }
    statuses.notify(undefined);
  }

  function perform(effect: Effect): void {
    switch (effect.do) {
      case 'ask_token':
        askToken(effect.ask, effect.refresh);
        break;
      case 'open':
        openSocket(effect.token, effect.query);
        break;
      case 'close':
        closeSocket();
        break;
      case 'send':
        socket?.send(JSON.stringify(effect.message));
        break;
      case 'emit':
        events.notify(effect.event);
        break;
      case 'timer':
        setTimer(effect.name, effect.ms);
        break;
      case 'warn':
        environment.warn(effect.text);
    }
  }

  function askToken(ask: number, refresh: boolean): void {
    Promise.resolve()
      .then(() => options.getToken({ refresh }))
      .then(
        (token) => {
          handle({ is: 'token', ask, token });
        },
        (error: unknown) => {
          environment.warn(`no token: ${String(error)}`);
          handle({ is: 'no_token', ask });
        },
      );
  }

  function openSocket(token: string, query: string): void {
    const url = new URL(options.url, environment.baseUrl);
    url.protocol = url.protocol.replace('http', 'ws');
    url.search = query;
    const opened = environment.openSocket(url.href, [SUBPROTOCOL, `bearer.${token}`], {
      text: (text) => {
        if (socket === opened) handle({ is: 'text', text });
      },
      closed: (code) => {
        if (socket !== opened) return;
        socket = undefined;
        handle({ is: 'closed', code });
      },
    });
    socket = opened;
  }

  /** Ignore the socket from now on: its close handshake may take seconds. */
  function closeSocket(): void {
    const closing = socket;
    socket = undefined;
    closing?.close();
  }

  function setTimer(name: TimerName, ms: number | undefined): void {
    timers.get(name)?.();
    timers.delete(name);
    if (ms === undefined || isClosed) return;
    const stop = environment.setTimer(() => {
      handle({ is: 'timer', name });
    }, ms);
    timers.set(name, stop);
  }

  const stopSignals = environment.onSignal((signal) => {
    if (signal === 'visible') handle({ is: 'visible' });
    if (signal === 'online' || signal === 'offline') {
      handle({ is: 'network', isOnline: signal === 'online' });
    }
  });
  if (!environment.isOnline()) handle({ is: 'network', isOnline: false });
  if (options.projectId !== undefined) projects.open(options.projectId);
  queueMicrotask(updateProjects);

  return {
    open: projects.open,
    subscribe: events.add,
    status: (projectId) => session.status(projectId),
    onStatus: statuses.add,
    cursors: () => session.cursors,
    close() {
      if (isClosed) return;
      isClosed = true;
      stopSignals();
      handle({ is: 'stop' });
      events.clear();
    },
    environment,
  };
}
