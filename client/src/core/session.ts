import { backoffMs } from './backoff.js';
import type { Effect, Input, Status, TimerName } from './events.js';
import { CloseCode, parseFrame, type Cursors, type ServerFrame } from './protocol.js';
import { Subscriptions } from './subscriptions.js';

/** Limit from opening the socket to `connected`; after it the attempt has failed. */
const CONNECT_MS = 10_000;
/** Limit from `ping` to the next frame of any type. */
const PONG_MS = 10_000;
/** A connection that lasted less than this does not reset the backoff. */
const STABLE_MS = 10_000;
/** Reconnect within this time of a draining gateway's close, at random. */
const MAX_DRAIN_DELAY_MS = 1_000;

type Phase = 'new' | 'token' | 'opening' | 'connected' | 'pinged' | 'waiting' | 'closed';

/** The connection's state machine: inputs in, effects out; time and randomness are arguments. */
export class Session {
  private phase: Phase = 'new';
  private closeStatus: Status = 'offline';
  private ask = 0;
  private tries = 0;
  private subscribeTries = 0;
  private connectedAt = 0;
  private heartbeatMs = 0;
  private needsNewToken = false;
  private isOnline = true;
  private isServerLive = true;
  private effects: Effect[] = [];
  private readonly subscriptions: Subscriptions;

  /** @param maxTries - give up after this many failed attempts in a row */
  constructor(
    cursors: Cursors,
    private readonly maxTries: number,
  ) {
    this.subscriptions = new Subscriptions(cursors, (effect) => this.effects.push(effect));
  }

  get cursors(): Cursors {
    return this.subscriptions.cursors;
  }

  /** Return the status of one project, or of the connection as a whole. */
  status(projectId?: string): Status {
    const phase = this.subscriptions.phase(projectId);
    if (phase === 'refused') return 'forbidden';
    if (this.phase === 'closed') return this.closeStatus;
    if (!this.isOnline || this.hasGivenUp) return 'offline';
    if (!this.isConnected) return this.tries > 0 ? 'degraded' : 'connecting';
    if (!this.isServerLive) return 'degraded';
    return phase === 'subscribed' ? 'live' : 'connecting';
  }

  handle(input: Input, now: number, random: number): readonly Effect[] {
    this.effects = [];
    switch (input.is) {
      case 'want':
        this.subscriptions.want(input.projectIds, this.isConnected, now);
        if (this.phase === 'new' || this.phase === 'closed' || this.hasGivenUp) {
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
        this.disconnected(input.code, now, random);
        break;
      case 'timer':
        if (input.name === 'subscribe') this.subscriptions.subscribe(now);
        else this.timeout(now, random);
        break;
      case 'network':
        this.isOnline = input.isOnline;
        if (input.isOnline) this.wake();
        break;
      case 'visible':
        this.wake();
        break;
      case 'stop':
        this.close('offline');
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
    this.setTimer(undefined);
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
      // Set the timer first: if `open` throws on a bad URL or token, the attempt fails by timeout.
      this.setTimer(CONNECT_MS);
      this.effects.push({ do: 'open', token, query: this.subscriptions.query(now) });
    }
  }

  private receive(text: string, now: number, random: number): void {
    const frame = parseFrame(text);
    if (frame === undefined) {
      // The cursors predate this frame, so reconnecting replays whatever it contained.
      this.drop(now, random);
      return;
    }
    if (frame.type === 'connected') {
      this.phase = 'connected';
      this.connectedAt = now;
      this.isServerLive = true;
      this.subscribeTries = 0;
      this.heartbeatMs = frame.heartbeat * 1_000;
    }
    if (this.isConnected) {
      this.phase = 'connected';
      this.setTimer(this.heartbeatMs);
    }
    this.subscriptions.receive(frame, now);
    this.update(frame, random);
  }

  private update(frame: ServerFrame, random: number): void {
    if (frame.type === 'status') this.isServerLive = frame.live;
    if (frame.type === 'subscribed') this.subscribeTries = 0;
    if (frame.type === 'token_expiring') {
      this.needsNewToken = true;
      this.askToken();
    }
    const projectId = frame.type === 'error' ? frame.project_id : undefined;
    if (projectId !== undefined && this.subscriptions.phase(projectId) === 'idle') {
      const ms = backoffMs(this.subscribeTries, random);
      this.subscribeTries += 1;
      this.setTimer(ms, 'subscribe');
    }
  }

  private timeout(now: number, random: number): void {
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
    this.setTimer(PONG_MS);
  }

  /** The network is back or the page is visible: skip the backoff, or check an open socket. */
  private wake(): void {
    if (this.phase === 'waiting') {
      this.tries = 0;
      this.connect();
    } else if (this.phase === 'connected') {
      this.ping();
    }
  }

  private drop(now: number, random: number): void {
    this.effects.push({ do: 'close' });
    this.disconnected(0, now, random);
  }

  private disconnected(code: number, now: number, random: number): void {
    const wasConnected = this.isConnected;
    if (wasConnected && now - this.connectedAt >= STABLE_MS) this.tries = 0;
    this.subscriptions.disconnected();
    this.setTimer(undefined, 'subscribe');
    if (code === CloseCode.badRequest) {
      if (!wasConnected && this.subscriptions.refuseInUrl('bad_request')) this.connect();
      else {
        // No project caused the refusal, so clear the projects refused while looking for the cause.
        this.subscriptions.want([], false, now);
        this.close('offline');
      }
    } else if (code === CloseCode.forbidden && wasConnected) {
      // The code does not name the project. If it is still wanted, the next handshake refuses it.
      this.subscriptions.accessLost();
      this.fail(random);
    } else if (code === CloseCode.forbidden) {
      if (this.subscriptions.refuseInUrl('forbidden')) this.connect();
      else this.close('forbidden');
    } else if (code === CloseCode.draining) {
      this.wait(random * MAX_DRAIN_DELAY_MS);
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
    this.setTimer(ms);
  }

  private close(status: Status): void {
    this.phase = 'closed';
    this.closeStatus = status;
    this.ask += 1;
    this.effects.push({ do: 'close' });
    this.setTimer(undefined, 'subscribe');
    this.setTimer(undefined);
  }

  private setTimer(ms: number | undefined, name: TimerName = 'session'): void {
    this.effects.push({ do: 'timer', name, ms });
  }
}
