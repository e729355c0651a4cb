import type { Effect, Input, NeverstaleEvent, Status, TimerName } from './core/events.js';
import { SUBPROTOCOL, type Cursors } from './core/protocol.js';
import { Session } from './core/session.js';
import { browserEnvironment, type Environment, type Socket } from './environment.js';
import { makeListeners } from './listeners.js';
import { countProjects } from './projects.js';

export interface ConnectionOptions {
  /**
   * The gateway's WebSocket endpoint, e.g. `wss://live.example.com/api/v1/messages/ws`; in a
   * browser a path of the same host will do. `http` reads as `ws`.
   */
  url: string;
  /**
   * Gives the user's JWT. Called before each connection and ahead of the token's expiry.
   *
   * @param how - `refresh`: the last token was refused or expires soon, so a cached one won't do
   */
  getToken: (how: { refresh: boolean }) => string | Promise<string>;
  /** A project to open at once, as the server spells its id. Default: none. */
  projectId?: string;
  /** The places up to which everything held is known to be fresh. Default: none. */
  cursors?: Cursors;
  /**
   * Failed tries in a row after which it waits for the network, the user or a new project.
   * Default: no limit; tries are up to 30 s apart.
   */
  maxTries?: number;
  /** For tests, and for what is not a browser. Default: the browser's own. */
  environment?: Environment;
}

/** One WebSocket to the gateway, for any number of projects. */
export interface Connection {
  /** Hears a project until the function that it gives is called. Calls are counted. */
  readonly open: (projectId: string) => () => void;
  /**
   * Calls on each event, in order, until the function that it gives is called. Who begins in the
   * tick that made the connection hears all.
   */
  readonly subscribe: (listener: (event: NeverstaleEvent) => void) => () => void;
  /** The status of a project, or of the connection as a whole. */
  readonly status: (projectId?: string) => Status;
  /** Calls when any status may have changed. */
  readonly onStatus: (listener: () => void) => () => void;
  /** The newest cursor of each channel. */
  readonly cursors: () => Cursors;
  /** Ends it for good. */
  readonly close: () => void;
  readonly environment: Environment;
}

/**
 * Connects to a gateway, and stays connected.
 *
 * It is for one user: after a sign-out close it, and make another.
 */
export function createConnection(options: ConnectionOptions): Connection {
  const environment = options.environment ?? browserEnvironment();
  const session = new Session(options.cursors ?? {}, options.maxTries ?? Infinity);
  const events = makeListeners<NeverstaleEvent>();
  const statuses = makeListeners<undefined>();
  const projects = countProjects(want);
  const timers = new Map<TimerName, () => void>();
  let socket: Socket | undefined;
  let isClosed = false;
  let wanted: string | undefined;

  function want(): void {
    const projectIds = projects.wanted();
    if (isClosed || wanted === JSON.stringify(projectIds)) return;
    wanted = JSON.stringify(projectIds);
    handle({ is: 'want', projectIds });
  }

  function handle(input: Input): void {
    for (const effect of session.handle(input, environment.now(), environment.random())) {
      perform(effect);
    }
    statuses.tell(undefined);
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
        events.tell(effect.event);
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
    const mine = environment.openSocket(url.href, [SUBPROTOCOL, `bearer.${token}`], {
      text: (text) => {
        if (socket === mine) handle({ is: 'text', text });
      },
      closed: (code) => {
        if (socket !== mine) return;
        socket = undefined;
        handle({ is: 'closed', code });
      },
    });
    socket = mine;
  }

  /** From here on it is not heard any more, though its close may take seconds. */
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
  queueMicrotask(want);

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
