import { createConnection, type Connection, type ConnectionOptions } from '../connection.js';
import type { NeverstaleEvent } from '../core/events.js';
import type { Cursors } from '../core/protocol.js';
import { browserEnvironment } from '../environment.js';
import { makeListeners } from '../listeners.js';
import { countProjects } from '../projects.js';
import { browserTabs, type TabsEnvironment } from './environment.js';
import { everythingStale } from './history.js';
import { Leader } from './leader.js';
import type { Message, Statuses } from './messages.js';

/** A tab that does not answer for so long is frozen or gone. */
const ANSWER_MS = 3_000;

export interface SharedConnectionOptions extends ConnectionOptions {
  /** Whose connection it is: only tabs of one user share a socket. */
  userId: string;
  /** For tests. Default: the browser's own; where that lacks what it takes, nothing is shared. */
  tabs?: TabsEnvironment | undefined;
}

/**
 * Like `createConnection`, but of all tabs of a user one holds the socket and hands on what it
 * hears. When it is closed or frozen another one goes on from where it was.
 */
export function createSharedConnection(options: SharedConnectionOptions): Connection {
  const tabs = options.tabs ?? browserTabs();
  return tabs ? shareConnection(options, tabs) : createConnection(options);
}

function shareConnection(options: SharedConnectionOptions, tabs: TabsEnvironment): Connection {
  const environment = options.environment ?? browserEnvironment();
  // The number is that of the messages: an older version in another tab speaks otherwise.
  const name = `neverstale 1 ${options.url} ${options.userId}`;
  const events = makeListeners<NeverstaleEvent>();
  const statusListeners = makeListeners<undefined>();
  const projects = countProjects(want);
  let leader: Leader | undefined;
  /** Whom this tab follows, and the number of the next event. */
  let followed: { id: string; next: number } | undefined;
  let place: Cursors = options.cursors ?? {};
  let statuses: Statuses = {};
  let isClosed = false;
  let release: (() => void) | undefined;
  /** Set while an answer is waited for. */
  let stopWaiting: (() => void) | undefined;

  function want(): void {
    if (isClosed) return;
    const projectIds = projects.wanted();
    if (leader) leader.want(tabs.id, projectIds);
    else channel.post({ is: 'want', tab: tabs.id, projectIds } satisfies Message);
  }

  /** Asks for the lock, and meanwhile to be told what the tab that holds it hears. */
  function join(steal = false): void {
    if (isClosed) return;
    release ??= tabs.lock(name, { steal }, { held: lead, lost: follow });
    const { loadedAt } = environment;
    const projectIds = projects.wanted();
    channel.post({
      is: 'join',
      tab: tabs.id,
      cursors: place,
      loadedAt,
      projectIds,
    } satisfies Message);
    stopWaiting?.();
    stopWaiting = environment.setTimer(() => {
      release?.();
      release = undefined;
      join(true);
    }, ANSWER_MS);
  }

  function settle(): void {
    stopWaiting?.();
    stopWaiting = undefined;
  }

  function lead(): void {
    settle();
    followed = undefined;
    const { url, getToken, maxTries = Infinity } = options;
    const connection = createConnection({ url, getToken, maxTries, environment, cursors: place });
    leader = new Leader(tabs.id, connection, {
      others: (message) => {
        channel.post(message);
      },
      self: events.tell,
      status: setStatuses,
    });
    leader.want(tabs.id, projects.wanted());
  }

  function letGo(): void {
    if (leader) {
      place = leader.connection.cursors();
      leader.end();
      leader = undefined;
    }
    settle();
    release?.();
    release = undefined;
  }

  function follow(): void {
    letGo();
    join();
  }

  function setStatuses(now: Statuses): void {
    statuses = now;
    statusListeners.tell(undefined);
  }

  function receive(message: Message): void {
    if (leader) {
      if (message.is === 'join') leader.join(message);
      if (message.is === 'want') leader.want(message.tab, message.projectIds);
    } else if (message.is === 'lead') {
      join();
    } else if (message.is === 'welcome') {
      if (message.tab === tabs.id) beWelcome(message);
    } else if ('leader' in message) {
      if (message.leader !== followed?.id) seek();
      else if (message.is === 'event') hear(message, followed);
      else setStatuses(message.statuses);
    }
  }

  /** Who is followed may have lost the lock: a late welcome came after that of who leads now. */
  function seek(): void {
    if (!stopWaiting) join();
  }

  function beWelcome(message: Extract<Message, { is: 'welcome' }>): void {
    settle();
    followed = { id: message.leader, next: message.next };
    place = message.cursors;
    for (const event of message.missed) events.tell(event);
    setStatuses(message.statuses);
  }

  function hear(
    message: Extract<Message, { is: 'event' }>,
    from: { id: string; next: number },
  ): void {
    const before = place;
    const isBroken = message.number !== from.next;
    from.next = message.number + 1;
    place = message.cursors;
    if (isBroken) events.tell(everythingStale(before));
    events.tell(message.event);
  }

  const channel = tabs.openChannel(name, (message) => {
    receive(message as Message);
  });
  const stopFreeze = tabs.onFreeze(letGo);
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
    cursors: () => leader?.connection.cursors() ?? place,
    close() {
      if (isClosed) return;
      isClosed = true;
      stopFreeze();
      stopSignals();
      if (!leader) channel.post({ is: 'want', tab: tabs.id, projectIds: [] } satisfies Message);
      letGo();
      channel.close();
      statuses = { '': 'offline' };
      statusListeners.tell(undefined);
      events.clear();
    },
    environment,
  };
}

export type { TabsChannel, TabsEnvironment } from './environment.js';
