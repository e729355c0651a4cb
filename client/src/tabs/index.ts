import { createConnection, type Connection, type ConnectionOptions } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';
import { makeDebugLog } from '../debug-log.js';
import { browserEnvironment, type Environment } from '../environment.js';
import { makeListeners } from '../listeners.js';
import { countProjectRefs } from '../project-refs.js';
import { browserTabs, type TabsEnvironment } from './environment.js';
import { everythingStale } from './history.js';
import { Leader } from './leader.js';
import type { Message, State } from './messages.js';

/** A leader that does not answer within this time is frozen or gone. */
const ANSWER_MS = 3_000;

export interface SharedConnectionOptions extends ConnectionOptions {
  /** Only tabs with the same user id share a socket. */
  userId: string;
  /** For tests. Default: Web Locks and BroadcastChannel; without them, one socket per tab. */
  tabs?: TabsEnvironment | undefined;
}

/**
 * Like `createConnection`, but one tab of a user holds the socket and forwards its events to the
 * user's other tabs. When that tab is closed or frozen, another resumes from the same cursors.
 *
 * All tabs show the status of that tab's connection. `reconnect()` in any tab reconnects it, with the
 * token of the tab that holds it; `disconnect()` takes only its own tab out.
 */
export function createSharedConnection(options: SharedConnectionOptions): Connection {
  const environment = options.environment ?? browserEnvironment();
  try {
    const tabs = options.tabs ?? browserTabs();
    if (tabs) return shareConnection(options, tabs, environment);
  } catch (error) {
    // Where storage is blocked, so may be BroadcastChannel (SecurityError).
    environment.warn('tabs cannot share a connection', error);
  }
  return createConnection({ ...options, environment });
}

function shareConnection(
  options: SharedConnectionOptions,
  tabs: TabsEnvironment,
  environment: Environment,
): Connection {
  // The number is the version of the message format: tabs with another version must not interact.
  const name = `neverstale 2 ${options.url} ${options.userId}`;
  const log = makeDebugLog(options.debug);
  const warn = environment.warn.bind(environment);
  const events = makeListeners<NeverstaleEvent>(warn);
  const statusListeners = makeListeners<undefined>(warn);
  const projects = countProjectRefs(sendWanted);
  let leader: Leader | undefined;
  /** The leader that this tab follows, and the number of the next event. */
  let followed: { id: string; next: number } | undefined;
  let lastCursors: Cursors = options.cursors ?? {};
  let state: State = makeState();
  let isClosed = false;
  /** Closed, or out until `connect()`. */
  let isOut = false;
  let release: (() => void) | undefined;
  /** Set while an answer from the leader is pending. */
  let stopAnswerTimer: (() => void) | undefined;

  function makeState(): State {
    const info = { since: environment.now(), lastError: undefined, nextAttemptAt: undefined };
    return { statuses: {}, info };
  }

  function post(message: Message): void {
    channel.post(message);
  }

  function sendWanted(): void {
    if (isOut) return;
    const projectIds = projects.wanted();
    if (leader) leader.want(tabs.id, projectIds);
    else post({ is: 'want', tab: tabs.id, projectIds });
  }

  /** Request the lock, and ask its holder for events while waiting for it. */
  function join(steal = false): void {
    if (isOut) return;
    release ??= tabs.lock(name, { steal }, { held: startLeading, lost: follow });
    const { loadedAt } = environment;
    const projectIds = projects.wanted();
    post({ is: 'join', tab: tabs.id, cursors: lastCursors, loadedAt, projectIds });
    stopAnswerTimer?.();
    stopAnswerTimer = environment.setTimer(() => {
      release?.();
      release = undefined;
      join(true);
    }, ANSWER_MS);
  }

  function clearAnswerTimer(): void {
    stopAnswerTimer?.();
    stopAnswerTimer = undefined;
  }

  function startLeading(): void {
    clearAnswerTimer();
    followed = undefined;
    const own = { environment, cursors: lastCursors, projectId: undefined };
    leader = new Leader(tabs.id, createConnection({ ...options, ...own }), {
      others: post,
      self: events.notify,
      state: setState,
    });
    leader.want(tabs.id, projects.wanted());
  }

  function stepDown(): void {
    if (leader) {
      lastCursors = leader.connection.cursors();
      leader.end();
      leader = undefined;
    }
    clearAnswerTimer();
    release?.();
    release = undefined;
  }

  function follow(): void {
    stepDown();
    join();
  }

  function setState({ statuses, info }: State): void {
    state = { statuses, info };
    statusListeners.notify(undefined);
  }

  /** Have the leader's connection connect; this tab takes part again. */
  function control(is: 'connect' | 'reconnect'): void {
    if (isClosed) return;
    if (leader) leader.connection[is]();
    else if (isOut) {
      isOut = false;
      setState(makeState());
      join();
    }
    if (!leader) post({ is });
  }

  function disconnect(): void {
    if (isOut) return;
    isOut = true;
    if (!leader) post({ is: 'want', tab: tabs.id, projectIds: [] });
    stepDown();
    setState(makeState());
  }

  function receive(message: Message): void {
    log?.(message);
    if (isOut) return;
    if (leader) {
      if (message.is === 'connect' || message.is === 'reconnect') leader.connection[message.is]();
      if (message.is === 'join') leader.join(message);
      if (message.is === 'want') leader.want(message.tab, message.projectIds);
    } else if (message.is === 'lead') {
      join();
    } else if (message.is === 'welcome') {
      if (message.tab === tabs.id) onWelcome(message);
    } else if ('leader' in message) {
      if (message.leader !== followed?.id) rejoin();
      else if (message.is === 'event') onEvent(message, followed);
      else setState(message);
    }
  }

  /** The followed leader may have lost the lock: its welcome can arrive after the new leader's. */
  function rejoin(): void {
    if (!stopAnswerTimer) join();
  }

  function onWelcome(message: Extract<Message, { is: 'welcome' }>): void {
    clearAnswerTimer();
    followed = { id: message.leader, next: message.next };
    lastCursors = message.cursors;
    for (const event of message.missed) if (!isOut) events.notify(event);
    if (!isOut) setState(message);
  }

  function onEvent(
    message: Extract<Message, { is: 'event' }>,
    from: { id: string; next: number },
  ): void {
    const before = lastCursors;
    const isBroken = message.number !== from.next;
    from.next = message.number + 1;
    lastCursors = message.cursors;
    if (isBroken) events.notify(everythingStale(before));
    events.notify(message.event);
  }

  const channel = tabs.openChannel(name, (message) => {
    receive(message as Message);
  });
  const stopFreeze = tabs.onFreeze(stepDown);
  const stopSignals = environment.onSignal((signal) => {
    if (signal === 'visible' && !leader) join();
  });
  if (options.projectId !== undefined) projects.open(options.projectId);
  queueMicrotask(() => {
    join();
  });

  return {
    open: projects.open,
    subscribe: events.add,
    projects: projects.wanted,
    status: (projectId = '') =>
      isOut
        ? 'offline'
        : (leader?.connection.status(projectId || undefined) ??
          state.statuses[projectId] ??
          'connecting'),
    onStatus: statusListeners.add,
    cursors: () => leader?.connection.cursors() ?? lastCursors,
    info: () => leader?.connection.info() ?? state.info,
    connect: () => {
      control('connect');
    },
    disconnect,
    reconnect: () => {
      control('reconnect');
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      stopFreeze();
      stopSignals();
      disconnect();
      channel.close();
    },
    environment,
  };
}

export type { TabsChannel, TabsEnvironment } from './environment.js';
