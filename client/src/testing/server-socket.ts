import {
  BAD_REQUEST,
  FORBIDDEN,
  projectChannel,
  SUBPROTOCOL,
  UNAUTHORIZED,
  type ClientMessage,
} from '../core/protocol.js';
import type { Socket, SocketListener } from '../environment.js';
import type { ChangeLog, Replay } from './change-log.js';

/** What all sockets of a test server share. */
export interface Gateway {
  readonly userChannel: string;
  readonly log: ChangeLog;
  readonly refused: ReadonlySet<string>;
  readonly isReachable: () => boolean;
  readonly isLive: () => boolean;
  readonly now: () => number;
}

const HEARTBEAT_SECONDS = 30;
/** The close code of a connection that was lost. */
export const CONNECTION_LOST = 1006;

/** The server's end of one WebSocket. Its frames arrive in order, each in a later microtask. */
export class ServerSocket implements Socket {
  readonly projects = new Set<string>();
  readonly token: string;
  isOpen = true;
  isConnected = false;

  constructor(
    private readonly gateway: Gateway,
    private readonly query: URLSearchParams,
    private readonly protocols: readonly string[],
    private readonly listener: SocketListener,
  ) {
    this.token = protocols.find((name) => name.startsWith('bearer.'))?.slice(7) ?? '';
    this.later(() => {
      this.accept();
    });
  }

  send(text: string): void {
    const message = JSON.parse(text) as ClientMessage;
    this.later(() => {
      this.receive(message);
    });
  }

  close(): void {
    this.isOpen = false;
  }

  get channels(): string[] {
    return [this.gateway.userChannel, ...[...this.projects].map(projectChannel)];
  }

  /** Send a frame to a client that is connected. */
  deliver(frame: object): void {
    if (!this.isConnected) return;
    this.later(() => {
      this.listener.text(JSON.stringify(frame));
    });
  }

  end(code: number): void {
    this.later(() => {
      this.isOpen = false;
      this.listener.closed(code);
    });
  }

  revoke(projectId: string): void {
    if (!this.projects.delete(projectId)) return;
    this.deliver({ type: 'unsubscribed', project_id: projectId, reason: 'revoked' });
  }

  private accept(): void {
    const { gateway, query, protocols } = this;
    const projectId = query.get('project_id');
    if (!gateway.isReachable()) this.end(CONNECTION_LOST);
    else if (!protocols.includes(SUBPROTOCOL)) this.end(BAD_REQUEST);
    else if (this.token === '') this.end(UNAUTHORIZED);
    else if (projectId !== null && gateway.refused.has(projectId)) this.end(FORBIDDEN);
    else this.connect(projectId);
  }

  private connect(projectId: string | null): void {
    if (projectId !== null) this.projects.add(projectId);
    const age = this.query.get('age');
    const replays = this.channels.map((channel) => {
      const cursors = this.query.getAll('since');
      const cursor = cursors.find((text) => text.startsWith(`${channel}.`));
      return this.replay(channel, cursor, age === null ? undefined : Number(age));
    });
    this.isConnected = true;
    this.deliver({
      type: 'connected',
      cursors: Object.fromEntries(replays.map(({ channel, cursor }) => [channel, cursor])),
      resumed: replays.filter(({ isResumed }) => isResumed).map(({ channel }) => channel),
      heartbeat: HEARTBEAT_SECONDS,
    });
    if (!this.gateway.isLive()) this.deliver({ type: 'status', live: false });
    for (const { frames } of replays) for (const frame of frames) this.deliver(frame);
  }

  private receive(message: ClientMessage): void {
    switch (message.type) {
      case 'subscribe':
        this.subscribe(message);
        break;
      case 'unsubscribe': {
        const { project_id } = message;
        this.projects.delete(project_id);
        this.deliver({ type: 'unsubscribed', project_id, reason: 'requested' });
        break;
      }
      case 'auth':
        this.deliver({ type: 'auth_ok', expires_in: 3_600 });
        break;
      case 'ping':
        this.deliver({ type: 'pong' });
        break;
    }
  }

  private subscribe(message: Extract<ClientMessage, { type: 'subscribe' }>): void {
    const { project_id, since, age } = message;
    if (this.gateway.refused.has(project_id)) {
      const text = 'no such project, or it is not yours to see';
      this.deliver({ type: 'error', code: 'forbidden', message: text, project_id });
      return;
    }
    this.projects.add(project_id);
    const { cursor, isResumed, frames } = this.replay(projectChannel(project_id), since, age);
    this.deliver({ type: 'subscribed', project_id, cursor, resumed: isResumed });
    for (const frame of frames) this.deliver(frame);
  }

  private replay(channel: string, cursor: string | undefined, age: number | undefined): Replay {
    const loadedAt = age === undefined ? undefined : this.gateway.now() - age;
    return this.gateway.log.replay(channel, { cursor, loadedAt });
  }

  /** Fake timers do not replace promises, and a real network is never synchronous either. */
  private later(call: () => void): void {
    void Promise.resolve().then(() => {
      if (this.isOpen) call();
    });
  }
}
