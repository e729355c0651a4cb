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

/** `closed`: other projects are a reason to try again. `stopped`: only the app is. */
type Phase =
  'new' | 'token' | 'opening' | 'connected' | 'pinged' | 'waiting' | 'closed' | 'stopped';

/** The connection's state machine: inputs in, effects out; time and randomness are arguments. */
export class Session {
  /** Why the last attempt or socket failed; undefined once connected. */
  lastError: string | undefined;
  private phase: Phase = 'new';
  private closeStatus: Status = 'offline';
  private now = 0;
  private random = 0;
  private ask = 0;
  private tries = 0;
  private tokenTries = 0;
  private subscribeTries = 0;
  private attemptAt: number | undefined;
  private connectedAt = 0;
  private heartbeatMs = 0;
  private needsNewToken = false;
  private isOnline = true;
  private isServerLive = true;
  /** Whether the socket was lost, or could not be opened, for no reason that is known. */
  private isDegraded = false;
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

  /** When the next attempt is due, if one is; in the caller's time. */
  get nextAttemptAt(): number | undefined {
    return this.phase === 'waiting' ? this.attemptAt : undefined;
  }

  /** Return the status of one project, or of the connection as a whole. */
  status(projectId?: string): Status {
    const phase = projectId === undefined ? 'subscribed' : this.subscriptions.phase(projectId);
    if (phase === 'refused') return 'forbidden';
    if (this.phase === 'closed' || this.phase === 'stopped') return this.closeStatus;
    if (!this.isOnline || this.hasGivenUp) return 'offline';
    if (!this.isConnected) return this.isDegraded ? 'degraded' : 'connecting';
    if (!this.isServerLive) return 'degraded';
    return phase === 'subscribed' ? 'live' : 'connecting';
  }

  handle(input: Input, now: number, random: number): readonly Effect[] {
    this.effects = [];
    this.now = now;
    this.random = random;
    switch (input.is) {
      case 'want':
        this.subscriptions.want(input.projectIds, this.isConnected, now);
        if (this.isIdle && this.phase !== 'stopped') this.start();
        break;
      case 'token':
        if (input.ask === this.ask) this.useToken(input.token);
        break;
      case 'no_token':
        if (input.ask === this.ask) this.missToken(input.error);
        break;
      case 'text':
        this.receive(input.text);
        break;
      case 'closed':
        this.disconnected(input.code, `closed with ${input.code} ${input.reason}`.trim());
        break;
      case 'failed':
        this.drop(input.error);
        break;
      case 'timer':
        this.timeout(input.name);
        break;
      case 'network':
        this.isOnline = input.isOnline;
        if (input.isOnline) this.wake();
        else if (this.phase === 'waiting' || this.phase === 'token') this.wait(undefined);
        break;
      case 'visible':
        this.wake();
        break;
      case 'connect':
        if (this.isIdle && this.closeStatus !== 'unauthorized') this.start();
        break;
      case 'disconnect':
        this.close('offline');
        break;
      case 'reconnect':
        this.close('offline');
        this.subscriptions.disconnected(true);
        this.needsNewToken = true;
        // The platform may wrongly report that there is no network.
        this.isOnline = true;
        this.start();
    }
    return this.effects;
  }

  private get isConnected(): boolean {
    return this.phase === 'connected' || this.phase === 'pinged';
  }

  private get hasGivenUp(): boolean {
    return this.phase === 'waiting' && this.tries >= this.maxTries;
  }

  /** Whether nothing is done to connect, even with a network. */
  private get isIdle(): boolean {
    return ['new', 'closed', 'stopped'].includes(this.phase) || this.hasGivenUp;
  }

  private start(): void {
    this.closeStatus = 'offline';
    this.tries = 0;
    this.isDegraded = false;
    this.connect();
  }

  private connect(): void {
    if (this.isOnline) {
      this.phase = 'token';
      this.setTimer(undefined);
      this.askToken();
    } else this.wait(undefined);
  }

  private askToken(): void {
    this.ask += 1;
    this.effects.push({ do: 'ask_token', ask: this.ask, refresh: this.needsNewToken });
  }

  private useToken(token: string | null): void {
    if (token === null) {
      this.lastError = 'getToken returned no token';
      this.close('unauthorized');
      return;
    }
    this.needsNewToken = false;
    if (this.isConnected) {
      this.effects.push({ do: 'send', message: { type: 'auth', token } });
    } else if (this.phase === 'token') {
      this.phase = 'opening';
      this.setTimer(CONNECT_MS);
      this.effects.push({ do: 'open', token, query: this.subscriptions.query(this.now) });
    }
  }

  private missToken(error: string): void {
    this.lastError = error;
    if (this.phase === 'token') this.fail();
    else if (this.isConnected) this.renewLater();
  }

  /** Ask for a token again before the one in use expires. */
  private renewLater(): void {
    this.needsNewToken = true;
    this.setTimer(backoffMs(this.tokenTries, this.random), 'token');
    this.tokenTries += 1;
  }

  private receive(text: string): void {
    try {
      this.read(parseFrame(text));
    } catch {
      // The cursors predate this frame, so reconnecting replays whatever it contained.
      this.drop('malformed frame');
    }
  }

  private read(frame: ServerFrame): void {
    if (frame.type === 'connected') {
      this.phase = 'connected';
      this.connectedAt = this.now;
      this.isOnline = this.isServerLive = true;
      this.isDegraded = false;
      this.lastError = undefined;
      this.subscribeTries = 0;
      this.heartbeatMs = frame.heartbeat * 1_000;
    }
    if (this.isConnected) {
      this.phase = 'connected';
      this.setTimer(this.heartbeatMs);
    }
    this.subscriptions.receive(frame, this.now);
    this.update(frame);
  }

  private update(frame: ServerFrame): void {
    if (frame.type === 'status') this.isServerLive = frame.live;
    if (frame.type === 'subscribed') this.subscribeTries = 0;
    if (frame.type === 'auth_ok') this.lastError = undefined;
    if (frame.type === 'token_expiring') {
      this.needsNewToken = true;
      this.tokenTries = 0;
      this.askToken();
    }
    if (frame.type !== 'error') return;
    const { code, message, project_id: projectId } = frame;
    if (projectId === undefined) {
      // A refused `auth` leaves the token in use as it is.
      if (code === 'unauthorized' || code === 'token_expired') {
        this.missToken(`${code}: ${message}`);
      }
    } else if (this.subscriptions.phase(projectId) === 'idle') {
      this.setTimer(backoffMs(this.subscribeTries, this.random), 'subscribe');
      this.subscribeTries += 1;
    }
  }

  private timeout(name: TimerName): void {
    if (name !== 'session') {
      if (!this.isConnected) return;
      if (name === 'subscribe') this.subscriptions.subscribe(this.now);
      else if (this.isOnline) this.askToken();
      else this.renewLater();
    } else if (this.phase === 'waiting') {
      this.connect();
    } else if (this.phase === 'connected') {
      this.ping();
    } else if (this.phase === 'opening' || this.phase === 'pinged') {
      this.drop('no answer');
    }
  }

  private ping(): void {
    this.phase = 'pinged';
    this.setTimer(PONG_MS);
    this.effects.push({ do: 'send', message: { type: 'ping' } });
  }

  /** The network is back or the page is visible: skip the backoff, or check an open socket. */
  private wake(): void {
    if (this.phase === 'waiting') this.start();
    else if (this.phase === 'connected') this.ping();
  }

  private drop(error: string): void {
    this.effects.push({ do: 'close' });
    this.disconnected(0, error);
  }

  private disconnected(code: number, error: string): void {
    const wasConnected = this.isConnected;
    if (wasConnected && this.now - this.connectedAt >= STABLE_MS) this.tries = 0;
    this.lastError = error;
    this.leave();
    if (code === CloseCode.badRequest) {
      if (!wasConnected && this.subscriptions.refuseInUrl('bad_request')) this.connect();
      else {
        // No project caused the refusal, so clear the projects refused while looking for the cause.
        this.subscriptions.disconnected(true);
        this.close('offline', 'closed');
      }
    } else if (code === CloseCode.forbidden && wasConnected) {
      // The code does not name the project. If it is still wanted, the next handshake refuses it.
      this.subscriptions.accessLost();
      this.fail(false);
    } else if (code === CloseCode.forbidden) {
      if (this.subscriptions.refuseInUrl('forbidden')) this.connect();
      else this.close('forbidden', 'closed');
    } else if (code === CloseCode.draining) {
      this.wait(this.random * MAX_DRAIN_DELAY_MS);
    } else if (code === CloseCode.unauthorized) {
      this.needsNewToken = true;
      if (this.tries > 0) this.fail();
      else {
        this.tries = 1;
        this.connect();
      }
    } else {
      this.fail();
    }
  }

  /** @param isDegraded - false: the server said why, and another attempt will do */
  private fail(isDegraded = true): void {
    const ms = backoffMs(this.tries, this.random);
    this.tries += 1;
    this.isDegraded ||= isDegraded;
    this.wait(this.tries < this.maxTries ? ms : undefined);
  }

  /** Wait for the next attempt; without a network, until there is one. */
  private wait(ms: number | undefined): void {
    const delay = this.isOnline ? ms : undefined;
    this.phase = 'waiting';
    this.attemptAt = delay === undefined ? undefined : this.now + delay;
    this.setTimer(delay);
  }

  private close(status: Status, phase: Phase = 'stopped'): void {
    this.phase = phase;
    this.closeStatus = status;
    this.ask += 1;
    this.effects.push({ do: 'close' });
    this.leave();
    this.setTimer(undefined);
  }

  private leave(): void {
    this.subscriptions.disconnected();
    this.setTimer(undefined, 'subscribe');
    this.setTimer(undefined, 'token');
  }

  private setTimer(ms: number | undefined, name: TimerName = 'session'): void {
    this.effects.push({ do: 'timer', name, ms });
  }
}
