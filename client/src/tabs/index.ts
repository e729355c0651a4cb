import { createConnection, type Connection, type ConnectionOptions } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';
import { browserEnvironment } from '../environment.js';
import { makeListeners } from '../listeners.js';
import { countProjectRefs } from '../project-refs.js';
import { browserTabs, type TabsEnvironment } from './environment.js';
import { everythingStale } from './history.js';
import { Leader } from './leader.js';
import type { Message, Statuses } from './messages.js';

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
 */
export function createSharedConnection(options: SharedConnectionOptions): Connection {
  const tabs = options.tabs ?? browserTabs();
  return tabs ? shareConnection(options, tabs) : createConnection(options);
}

function shareConnection(options: SharedConnectionOptions, tabs: TabsEnvironment): Connection {
  const environment = options.environment ?? browserEnvironment();
  // The number is the version of the message format: tabs with another version must not interact.
  const name = `neverstale 1 ${options.url} ${options.userId}`;
  const events = makeListeners<NeverstaleEvent>();
  const statusListeners = makeListeners<undefined>();
  const projects = countProjectRefs(sendWanted);
  let leader: Leader | undefined;
  /** The leader that this tab follows, and the number of the next event. */
  let followed: { id: string; next: number } | undefined;
  let lastCursors: Cursors = options.cursors ?? {};
  let statuses: Statuses = {};
  let isClosed = false;
  let release: (() => void) | undefined;
  /** Set while an answer from the leader is pending. */
  let stopAnswerTimer: (() => void) | undefined;

  function sendWanted(): void {
    if (isClosed) return;
    const projectIds = projects.wanted();
    if (leader) leader.want(tabs.id, projectIds);
    else channel.post({ is: 'want', tab: tabs.id, projectIds } satisfies Message);
  }

  /** Request the lock and, meanwhile, ask its holder for events. */
  function join(steal = false): void {
    if (isClosed) return;
    release ??= tabs.lock(name, { steal }, { held: startLeading, lost: follow });
    const { loadedAt } = environment;
    const projectIds = projects.wanted();
    channel.post({
      is: 'join',
      tab: tabs.id,
      cursors: lastCursors,
      loadedAt,
      projectIds,
    } satisfies Message);
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
    const { url, getToken, maxTries = Infinity } = options;
    const connection = createConnection({
      url,
      getToken,
      maxTries,
      environment,
      cursors: lastCursors,
    });
    leader = new Leader(tabs.id, connection, {
      others: (message) => {
        channel.post(message);
      },
      self: events.notify,
      status: setStatuses,
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

  function setStatuses(now: Statuses): void {
    statuses = now;
    statusListeners.notify(undefined);
  }

  function receive(message: Message): void {
    if (leader) {
      if (message.is === 'join') leader.join(message);
      if (message.is === 'want') leader.want(message.tab, message.projectIds);
    } else if (message.is === 'lead') {
      join();
    } else if (message.is === 'welcome') {
      if (message.tab === tabs.id) onWelcome(message);
    } else if ('leader' in message) {
      if (message.leader !== followed?.id) rejoin();
      else if (message.is === 'event') onEvent(message, followed);
      else setStatuses(message.statuses);
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
    for (const event of message.missed) events.notify(event);
    setStatuses(message.statuses);
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
    status: (projectId) =>
      leader?.connection.status(projectId) ?? statuses[projectId ?? ''] ?? 'connecting',
    onStatus: statusListeners.add,
    cursors: () => leader?.connection.cursors() ?? lastCursors,
    close() {
      if (isClosed) return;
      isClosed = true;
      stopFreeze();
      stopSignals();
      if (!leader) channel.post({ is: 'want', tab: tabs.id, projectIds: [] } satisfies Message);
      stepDown();
      channel.close();
      statuses = { '': 'offline' };
      statusListeners.notify(undefined);
      events.clear();
    },
    environment,
  };
}

export type { TabsChannel, TabsEnvironment } from './environment.js';
