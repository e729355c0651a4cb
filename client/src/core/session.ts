import { backoffMs } from './backoff.js';
import type { Effect, Input, Status, TimerName } from './events.js';
import { CloseCode, parseFrame, type Cursors, type ServerFrame } from './protocol.js';
import { Subscriptions } from './subscriptions.js';

/** From having a token to `connected`; a server that is silent for longer is not there. */
const CONNECT_MS = 10_000;
/** From `ping` to whatever comes. */
const PONG_MS = 10_000;
/** A socket that lived for less is counted as a failed try. */
const STABLE_MS = 10_000;
const LONGEST_DRAIN_PAUSE_MS = 1_000;

type Phase = 'new' | 'token' | 'opening' | 'connected' | 'pinged' | 'waiting' | 'over';

/** One client's dealings with the gateway: inputs in, effects out; time and chance are given. */
export class Session {
  private phase: Phase = 'new';
  private over: Status = 'offline';
  private ask = 0;
  private tries = 0;
  private joinTries = 0;
  private connectedAt = 0;
  private heartbeatMs = 0;
  private needsNewToken = false;
  private isOnline = true;
  private isServerLive = true;
  private effects: Effect[] = [];
  private readonly subscriptions: Subscriptions;

  /** @param maxTries - failed tries in a row before it gives up */
  constructor(
    cursors: Cursors,
    private readonly maxTries: number,
  ) {
    this.subscriptions = new Subscriptions(cursors, (effect) => this.effects.push(effect));
  }

  get cursors(): Cursors {
    return this.subscriptions.cursors;
  }

  /** The status of one project, or of the connection. */
  status(projectId?: string): Status {
    const phase = projectId === undefined ? 'joined' : this.subscriptions.phase(projectId);
    const isRefused =
      projectId === undefined ? this.subscriptions.isAllRefused() : phase === 'refused';
    if (isRefused) return 'forbidden';
    if (this.phase === 'over') return this.over;
    if (!this.isOnline || this.hasGivenUp) return 'offline';
    if (!this.isConnected) return this.tries > 0 ? 'degraded' : 'connecting';
    if (!this.isServerLive) return 'degraded';
    return phase === 'joined' ? 'live' : 'connecting';
  }

  handle(input: Input, now: number, random: number): readonly Effect[] {
    this.effects = [];
    switch (input.is) {
      case 'want':
        this.subscriptions.want(input.projectIds, this.isConnected, now);
        if (this.phase === 'new' || this.phase === 'over' || this.hasGivenUp) {
          this.tries = 0;
          this.connect();
        }
        break;
      case 'token':
        if (input.ask === this.ask) this.useToken(input.token, now);
        break;
      case 'no_token':
        if (input.ask === this.ask && this.phase === 'token') this.fail(random);
        break;
      case 'text':
        this.receive(input.text, now, random);
        break;
      case 'closed':
        this.lose(input.code, now, random);
        break;
      case 'timer':
        if (input.name === 'subscribe') this.subscriptions.join(now);
        else this.expire(now, random);
        break;
      case 'network':
        this.isOnline = input.isOnline;
        if (input.isOnline) this.hurry();
        break;
      case 'visible':
        this.hurry();
        break;
      case 'stop':
        this.end('offline');
        break;
    }
    return this.effects;
  }

  private get isConnected(): boolean {
    return this.phase === 'connected' || this.phase === 'pinged';
  }

  private get hasGivenUp(): boolean {
    return this.phase === 'waiting' && this.tries >= this.maxTries;
  }

  private connect(): void {
    this.phase = 'token';
    this.timer(undefined);
    this.askToken();
  }

  private askToken(): void {
    this.ask += 1;
    this.effects.push({ do: 'ask_token', ask: this.ask, refresh: this.needsNewToken });
  }

  private useToken(token: string, now: number): void {
    this.needsNewToken = false;
    if (this.isConnected) {
      this.effects.push({ do: 'send', message: { type: 'auth', token } });
    } else if (this.phase === 'token') {
      this.phase = 'opening';
      // The timer first: a URL or a token that no socket can be opened with is a failed try too.
      this.timer(CONNECT_MS);
      this.effects.push({ do: 'open', token, query: this.subscriptions.query(now) });
    }
  }

  private receive(text: string, now: number, random: number): void {
    const frame = parseFrame(text);
    if (frame === undefined) {
      // What it said is unknown, but the cursors are from before it: come back and hear it again.
      this.drop(now, random);
      return;
    }
    if (frame.type === 'connected') {
      this.phase = 'connected';
      this.connectedAt = now;
      this.isServerLive = true;
      this.joinTries = 0;
      this.heartbeatMs = frame.heartbeat * 1_000;
    }
    if (this.isConnected) {
      this.phase = 'connected';
      this.timer(this.heartbeatMs);
    }
    this.subscriptions.receive(frame, now);
    this.note(frame, random);
  }

  private note(frame: ServerFrame, random: number): void {
    if (frame.type === 'status') this.isServerLive = frame.live;
    if (frame.type === 'subscribed') this.joinTries = 0;
    if (frame.type === 'token_expiring') {
      this.needsNewToken = true;
      this.askToken();
    }
    const projectId = frame.type === 'error' ? frame.project_id : undefined;
    if (projectId !== undefined && this.subscriptions.phase(projectId) === 'idle') {
      const ms = backoffMs(this.joinTries, random);
      this.joinTries += 1;
      this.timer(ms, 'subscribe');
    }
  }

  private expire(now: number, random: number): void {
    if (this.phase === 'waiting') {
      this.connect();
    } else if (this.phase === 'connected') {
      this.ping();
    } else if (this.phase === 'opening' || this.phase === 'pinged') {
      this.drop(now, random);
    }
  }

  private ping(): void {
    this.phase = 'pinged';
    this.effects.push({ do: 'send', message: { type: 'ping' } });
    this.timer(PONG_MS);
  }

  /** The network or the user is back. */
  private hurry(): void {
    if (this.phase === 'waiting') {
      this.tries = 0;
      this.connect();
    } else if (this.phase === 'connected') {
      this.ping();
    }
  }

  private drop(now: number, random: number): void {
    this.effects.push({ do: 'close' });
    this.lose(0, now, random);
  }

  private lose(code: number, now: number, random: number): void {
    const wasConnected = this.isConnected;
    if (wasConnected && now - this.connectedAt >= STABLE_MS) this.tries = 0;
    this.subscriptions.disconnected();
    this.timer(undefined, 'subscribe');
    if (code === CloseCode.badRequest) {
      if (!wasConnected && this.subscriptions.refuseInUrl('bad_request')) this.connect();
      else {
        // It was not the projects: what was refused on the way to here is asked for anew.
        this.subscriptions.want([], false, now);
        this.end('offline');
      }
    } else if (code === CloseCode.forbidden && wasConnected) {
      // The next handshake says of which project, if it is still wanted.
      this.subscriptions.lostOne();
      this.fail(random);
    } else if (code === CloseCode.forbidden) {
      if (this.subscriptions.refuseInUrl('forbidden')) this.connect();
      else this.end('forbidden');
    } else if (code === CloseCode.draining) {
      this.wait(random * LONGEST_DRAIN_PAUSE_MS);
    } else if (code === CloseCode.unauthorized) {
      this.needsNewToken = true;
      if (this.tries > 0) this.fail(random);
      else {
        this.tries = 1;
        this.connect();
      }
    } else {
      this.fail(random);
    }
  }

  private fail(random: number): void {
    const ms = backoffMs(this.tries, random);
    this.tries += 1;
    this.wait(this.tries < this.maxTries ? ms : undefined);
  }

  private wait(ms: number | undefined): void {
    this.phase = 'waiting';
    this.timer(ms);
  }

  private end(status: Status): void {
    this.phase = 'over';
    this.over = status;
    this.ask += 1;
    this.effects.push({ do: 'close' });
    this.timer(undefined, 'subscribe');
    this.timer(undefined);
  }

  private timer(ms: number | undefined, name: TimerName = 'session'): void {
    this.effects.push({ do: 'timer', name, ms });
  }
}
