import type { Effect, Input, NeverstaleEvent, Status, TimerName } from './core/events.js';
import { SUBPROTOCOL, type Cursors } from './core/protocol.js';
import { Session } from './core/session.js';
import { makeDebugLog } from './debug-log.js';
import {
  browserEnvironment,
  type Environment,
  type Socket,
  type SocketListener,
} from './environment.js';
import { makeListeners } from './listeners.js';
import { countProjectRefs } from './project-refs.js';

/** WebSockets in a row that are not answered before server-sent events are tried. */
const MAX_UNANSWERED = 2;

/** For `getToken` to throw when nobody is signed in; the same as returning null. */
export class UnauthorizedError extends Error {}

export interface ConnectionOptions {
  /**
   * The gateway's WebSocket endpoint, e.g. `wss://live.example.com/api/v1/messages/ws`. In a
   * browser, a path on the page's host works too. `http` is replaced by `ws`.
   */
  url: string;
  /**
   * Returns the user's JWT. Called before each connection attempt and before the token expires.
   *
   * If nobody is signed in, it returns null or throws `UnauthorizedError`: the status becomes
   * `unauthorized`, and nothing is tried until `reconnect()`. After another error it is called again
   * with backoff.
   *
   * @param how - `refresh`: the last token was rejected or expires soon, so do not return a cached
   *   one
   */
  getToken: (how: {
    refresh: boolean;
  }) => string | null | undefined | Promise<string | null | undefined>;
  /** A project to open immediately; its id is written as the server writes it. Default: none. */
  projectId?: string | undefined;
  /** Cursors up to which all cached data is known to be fresh. Default: none. */
  cursors?: Cursors | undefined;
  /**
   * After this many failed attempts in a row, retry only when the network returns, the page becomes
   * visible or the open projects change. Default: no limit; attempts are at most 30 s apart.
   */
  maxTries?: number | undefined;
  /**
   * Whether to use server-sent events instead of a WebSocket. Default: after two WebSockets in a
   * row that could not be opened, until one can be, which is tried again and again. The path of
   * `url` must end with `/ws`; that of the events ends with `/sse`.
   */
  sse?: boolean | undefined;
  /** For tests and for runtimes other than a browser. Default: `browserEnvironment()`. */
  environment?: Environment | undefined;
  /**
   * Log everything that the connection receives and does, without tokens, by `console.debug`.
   * Default: false.
   */
  debug?: boolean | undefined;
}

/** What a status does not say. Times are in milliseconds since the epoch. */
export interface ConnectionInfo {
  /** When the status of the connection last changed. */
  readonly since: number;
  /** Why the last attempt or socket failed; undefined once connected. */
  readonly lastError: string | undefined;
  /** When the next attempt is due; undefined if none is. */
  readonly nextAttemptAt: number | undefined;
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
  /** The open projects, as they were given. */
  readonly projects: () => readonly string[];
  /** The status of a project, or of the connection as a whole, which no single project changes. */
  readonly status: (projectId?: string) => Status;
  /** Calls the listener when any status may have changed; returns a function that removes it. */
  readonly onStatus: (listener: () => void) => () => void;
  /** The newest cursor of each channel. */
  readonly cursors: () => Cursors;
  readonly info: () => ConnectionInfo;
  /**
   * Starts again after `disconnect()` or the last of `maxTries`. A new connection starts by itself.
   */
  readonly connect: () => void;
  /** Closes the socket until `connect()`; projects, cursors and listeners are kept. */
  readonly disconnect: () => void;
  /**
   * Drops the socket and connects at once with a new token, whatever the status. Refused projects
   * are asked for again.
   */
  readonly reconnect: () => void;
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
  const log = makeDebugLog(options.debug);
  const events = makeListeners<NeverstaleEvent>(warn);
  const statuses = makeListeners<undefined>(warn);
  const projects = countProjectRefs(updateProjects);
  const timers = new Map<TimerName, () => void>();
  let socket: Socket | undefined;
  /** Identifies the socket that is open or being opened. */
  let attempt: object | undefined;
  let token = '';
  let isClosed = false;
  let lastProjects: string | undefined;
  let lastWarning: string | undefined;
  let since = environment.now();
  /** WebSockets in a row without an answer. A stream that works keeps it at its maximum. */
  let unanswered = 0;

  function updateProjects(): void {
    const projectIds = projects.wanted();
    const text = JSON.stringify(projectIds);
    if (isClosed || lastProjects === text) return;
    lastProjects = text;
    handle({ is: 'want', projectIds });
  }

  function handle(input: Input): void {
    log?.(input);
    const before = session.status();
    const now = environment.now();
    for (const effect of session.handle(input, now, environment.random())) {
      log?.(effect);
      try {
        perform(effect);
      } catch (error) {
        const text = `cannot ${effect.do} ${options.url}: ${String(error)}`;
        warn(text);
        if (effect.do === 'open' || effect.do === 'send') handle({ is: 'closed', error: text });
      }
    }
    if (session.status() !== before) since = now;
    statuses.notify(undefined);
  }

  function perform(effect: Effect): void {
    switch (effect.do) {
      case 'ask_token':
        void askToken(effect.ask, effect.refresh);
        break;
      case 'open':
        openSocket(effect.query);
        break;
      case 'close': {
        for (const name of timers.keys()) setTimer(name, undefined);
        // Ignore the socket from now on: its close handshake may take seconds.
        attempt = undefined;
        socket?.close();
        socket = undefined;
        break;
      }
      case 'send': {
        const { message } = effect;
        socket?.send(JSON.stringify(message.type === 'auth' ? { ...message, token } : message));
        break;
      }
      case 'emit':
        if (!isClosed) events.notify(effect.event);
        break;
      case 'timer':
        setTimer(effect.name, effect.ms);
        break;
      case 'warn':
        warn(effect.text);
    }
  }

  /** Warn of what repeats, such as failed attempts for the same reason, once. */
  function warn(text: string, ...error: unknown[]): void {
    if (text !== lastWarning) environment.warn(text, ...error);
    lastWarning = text;
  }

  async function askToken(ask: number, refresh: boolean): Promise<void> {
    let newest: string | undefined;
    let error: string | undefined;
    try {
      newest = parseToken(await options.getToken({ refresh }));
    } catch (thrown) {
      if (!(thrown instanceof UnauthorizedError)) warn((error = `no token: ${String(thrown)}`));
    }
    if (newest === undefined) handle({ is: 'no_token', ask, error });
    else {
      token = newest;
      handle({ is: 'token', ask });
    }
  }

  function openSocket(query: string): void {
    const { baseUrl } = environment;
    // Without setters, and without `URL` where there is no page: React Native's is incomplete.
    const href = baseUrl === undefined ? options.url : new URL(options.url, baseUrl).href;
    const url = `${href.replace(/^http/, 'ws').replace(/[?#].*/, '')}?${query}`;
    const isStream = environment.fetch && (options.sse ?? unanswered === MAX_UNANSWERED);
    unanswered = isStream ? 0 : unanswered + 1;
    const own = (attempt = {});
    const listener: SocketListener = {
      text: (text) => {
        if (attempt !== own) return;
        unanswered = isStream ? MAX_UNANSWERED : 0;
        handle({ is: 'text', text });
      },
      closed: (code, reason = '') => {
        if (attempt !== own) return;
        attempt = socket = undefined;
        handle({ is: 'closed', code, error: `closed with ${code} ${reason}`.trim() });
      },
    };
    if (!isStream) {
      socket = environment.openSocket(url, [SUBPROTOCOL, `bearer.${token}`], listener);
      return;
    }
    // Loaded on demand, so that only pages on networks that block WebSockets download it.
    import('./sse/index.js').then(
      ({ openStream }) => {
        if (attempt !== own) return;
        const onSocket = (): void => {
          unanswered = 0;
        };
        socket = openStream(url, environment, listener, () => token, !options.sse && onSocket);
      },
      (error: unknown) => {
        // It becomes part of a text.
        listener.closed(1006, error as string);
      },
    );
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

  function control(is: 'connect' | 'disconnect' | 'reconnect'): () => void {
    return () => {
      if (!isClosed) handle({ is });
    };
  }

  const stopSignals = environment.onSignal((signal) => {
    if (signal !== 'focus') handle({ is: signal });
  });
  if (!environment.isOnline()) handle({ is: 'offline' });
  if (options.projectId !== undefined) projects.open(options.projectId);
  queueMicrotask(updateProjects);

  return {
    open: projects.open,
    subscribe: events.add,
    projects: projects.wanted,
    status: (projectId) => session.status(projectId),
    onStatus: statuses.add,
    cursors: () => session.cursors,
    info: () => ({ since, lastError: session.lastError, nextAttemptAt: session.nextAttemptAt }),
    connect: control('connect'),
    disconnect: control('disconnect'),
    reconnect: control('reconnect'),
    close() {
      isClosed = true;
      stopSignals();
      handle({ is: 'disconnect' });
    },
    environment,
  };
}

/** Return the JWT alone, or undefined if there is none. Throws if a subprotocol cannot hold it. */
function parseToken(token: string | null | undefined): string | undefined {
  if (token === null || token === undefined) return undefined;
  const jwt = /^(?:bearer )?([\w.-]+)$/i.exec(token)?.[1];
  if (jwt === undefined) throw new Error('getToken must return a JWT or null');
  return jwt;
}
