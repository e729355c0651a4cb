import { backoffMs } from './backoff.js';
import type { Effect, Input, Status, TimerName } from './events.js';
import {
  BAD_REQUEST,
  DRAINING,
  FORBIDDEN,
  parseFrame,
  UNAUTHORIZED,
  type Cursors,
  type ServerFrame,
} from './protocol.js';
import { Subscriptions } from './subscriptions.js';

/** Limit from opening the socket to `connected`; after it the attempt has failed. */
const CONNECT_MS = 10_000;
/** Limit from `ping` to the next frame of any type. */
const PONG_MS = 10_000;
/** A connection that lasted less than this does not reset the backoff. */
const STABLE_MS = 10_000;
/** Reconnect within this time of a draining gateway's close, at random. */
const MAX_DRAIN_DELAY_MS = 1_000;

type Phase = 'token' | 'opening' | 'connected' | 'pinged' | 'waiting' | 'closed';

/**
 * The connection's state machine: inputs in, effects out; time and randomness are arguments.
 *
 * Members are `#private` here because minifiers shorten their names.
 */
export class Session {
  /** Why the last attempt or socket failed; undefined once connected. */
  lastError: string | undefined;
  /** When the next attempt is due, if one is; in the caller's time. */
  nextAttemptAt: number | undefined;
  #phase: Phase = 'closed';
  /** The status while closed; at first it is not closed for a reason. */
  #closeStatus: Status = 'connecting';
  /** Whether only the app ends `closed`; other projects do, too, if those before were refused. */
  #isHeld = false;
  #now = 0;
  #random = 0;
  #ask = 0;
  #tries = 0;
  /** Failures in a row of what is repeated on an open socket: renewals and subscriptions. */
  #retries = 0;
  #connectedAt = 0;
  #heartbeatMs = 0;
  #needsNewToken = false;
  #isOnline = true;
  #isServerLive = true;
  /** Whether the socket was lost, or could not be opened, for no reason that is known. */
  #isDegraded = false;
  #effects: Effect[] = [];
  readonly #maxTries: number;
  readonly #subscriptions: Subscriptions;

  /** @param maxTries - give up after this many failed attempts in a row */
  constructor(cursors: Cursors, maxTries: number) {
    this.#maxTries = maxTries;
    this.#subscriptions = new Subscriptions(cursors, (effect) => this.#effects.push(effect));
  }

  get cursors(): Cursors {
    return this.#subscriptions.cursors;
  }

  /** Return the status of one project, or of the connection as a whole. */
  status(projectId?: string): Status {
    const phase = projectId === undefined ? 'subscribed' : this.#subscriptions.phase(projectId);
    if (phase === 'refused') return 'forbidden';
    if (this.#phase === 'closed') return this.#closeStatus;
    if (!this.#isOnline || this.#isParked) return 'offline';
    if (!this.#isConnected) return this.#isDegraded ? 'degraded' : 'connecting';
    if (!this.#isServerLive) return 'degraded';
    return phase === 'subscribed' ? 'live' : 'connecting';
  }

  handle(input: Input, now: number, random: number): readonly Effect[] {
    this.#effects = [];
    this.#now = now;
    this.#random = random;
    switch (input.is) {
      case 'want':
        this.#subscriptions.want(input.projectIds, this.#isConnected, now);
        if (this.#phase === 'closed' ? !this.#isHeld : this.#isParked) this.#start();
        break;
      case 'token':
        if (input.ask === this.#ask) this.#useToken();
        break;
      case 'no_token':
        if (input.ask === this.#ask) this.#missToken(input.error);
        break;
      case 'text':
        try {
          this.#receive(parseFrame(input.text));
        } catch {
          // The cursors predate this frame, so reconnecting replays whatever it contained.
          this.#disconnected('malformed frame');
        }
        break;
      case 'closed':
        this.#disconnected(input.error, input.code);
        break;
      case 'timer':
        this.#timeout(input.name);
        break;
      case 'online':
        this.#isOnline = true;
        this.#wake();
        break;
      case 'offline':
        this.#isOnline = false;
        if (this.#phase === 'waiting' || this.#phase === 'token') this.#wait(undefined);
        break;
      case 'visible':
        this.#wake();
        break;
      case 'connect':
        if (this.#phase === 'closed' ? this.#closeStatus !== 'unauthorized' : this.#isParked) {
          this.#start();
        }
        break;
      case 'disconnect':
        this.#close('offline');
        break;
      case 'reconnect':
        this.#close('offline');
        this.#subscriptions.disconnected(true);
        this.#needsNewToken = true;
        // The platform may wrongly report that there is no network.
        this.#isOnline = true;
        this.#start();
    }
    return this.#effects;
  }

  get #isConnected(): boolean {
    return this.#phase === 'connected' || this.#phase === 'pinged';
  }

  /** Whether it waits for something other than time: it has given up, or there is no network. */
  get #isParked(): boolean {
    return this.#phase === 'waiting' && this.nextAttemptAt === undefined;
  }

  #start(): void {
    this.#tries = 0;
    this.#isDegraded = false;
    this.#connect();
  }

  #connect(): void {
    if (this.#isOnline) {
      this.#phase = 'token';
      this.nextAttemptAt = undefined;
      this.#askToken();
    } else this.#wait(undefined);
  }

  #askToken(): void {
    this.#ask += 1;
    this.#effects.push({ do: 'ask_token', ask: this.#ask, refresh: this.#needsNewToken });
  }

  #useToken(): void {
    this.#needsNewToken = false;
    if (this.#isConnected) {
      this.lastError = undefined;
      this.#effects.push({ do: 'send', message: { type: 'auth' } });
    } else if (this.#phase === 'token') {
      this.#phase = 'opening';
      this.#setTimer(CONNECT_MS);
      this.#effects.push({ do: 'open', query: this.#subscriptions.query(this.#now) });
    }
  }

  #missToken(error: string | undefined): void {
    this.lastError = error ?? 'no token';
    if (error === undefined) this.#close('unauthorized');
    else if (this.#phase === 'token') this.#fail();
    // The token in use stays so: another one is wanted before it expires.
    else if (this.#isConnected) this.#retryLater('token');
  }

  #retryLater(name: TimerName): void {
    this.#setTimer(backoffMs(this.#retries, this.#random), name);
    this.#retries += 1;
  }

  #receive(frame: ServerFrame): void {
    if (frame.type === 'connected') {
      this.#phase = 'connected';
      this.#connectedAt = this.#now;
      this.#isOnline = this.#isServerLive = true;
      this.#isDegraded = false;
      this.lastError = undefined;
      this.#retries = 0;
      this.#heartbeatMs = frame.heartbeat * 1_000;
    }
    if (this.#isConnected) {
      this.#phase = 'connected';
      this.#setTimer(this.#heartbeatMs);
    }
    this.#subscriptions.receive(frame, this.#now);
    if (frame.type === 'status') this.#isServerLive = frame.live;
    if (frame.type === 'subscribed') this.#retries = 0;
    if (frame.type === 'token_expiring') {
      this.#needsNewToken = true;
      this.#askToken();
    }
    if (frame.type !== 'error') return;
    const { code, message, project_id: projectId } = frame;
    if (projectId !== undefined) {
      if (this.#subscriptions.phase(projectId) === 'idle') this.#retryLater('subscribe');
    } else if (code === 'unauthorized' || code === 'token_expired') {
      this.#needsNewToken = true;
      this.#missToken(`${code}: ${message}`);
    }
  }

  #timeout(name: TimerName): void {
    if (name !== 'session') {
      if (!this.#isConnected) return;
      if (name === 'subscribe') this.#subscriptions.subscribe(this.#now);
      else if (this.#isOnline) this.#askToken();
      else this.#retryLater(name);
    } else if (this.#phase === 'waiting') {
      this.#connect();
    } else if (this.#phase === 'connected') {
      this.#ping();
    } else if (this.#phase === 'opening' || this.#phase === 'pinged') {
      this.#disconnected('no answer');
    }
  }

  #ping(): void {
    this.#phase = 'pinged';
    this.#setTimer(PONG_MS);
    this.#effects.push({ do: 'send', message: { type: 'ping' } });
  }

  /** The network is back or the page is visible: skip the backoff, or check an open socket. */
  #wake(): void {
    if (this.#phase === 'waiting') this.#start();
    else if (this.#phase === 'connected') this.#ping();
  }

  #disconnected(error: string, code?: number): void {
    const wasConnected = this.#isConnected;
    if (wasConnected && this.#now - this.#connectedAt >= STABLE_MS) this.#tries = 0;
    this.lastError = error;
    this.#leave();
    const isForbidden = code === FORBIDDEN;
    if (isForbidden && wasConnected) {
      // The code does not name the project. If it is still wanted, the next handshake refuses it.
      this.#subscriptions.accessLost();
      this.#fail();
      this.#isDegraded = false;
    } else if (isForbidden || code === BAD_REQUEST) {
      const reason = isForbidden ? 'forbidden' : 'bad_request';
      if (!wasConnected && this.#subscriptions.refuseInUrl(reason)) this.#connect();
      else {
        // No project caused the refusal, so clear the projects refused while looking for the cause.
        this.#subscriptions.disconnected(true);
        this.#close(isForbidden ? 'forbidden' : 'offline', false);
      }
    } else if (code === DRAINING) {
      this.#wait(this.#random * MAX_DRAIN_DELAY_MS);
    } else if (code === UNAUTHORIZED) {
      this.#needsNewToken = true;
      if (this.#tries > 0) this.#fail();
      else {
        this.#tries = 1;
        this.#connect();
      }
    } else {
      this.#fail();
    }
  }

  #fail(): void {
    const ms = backoffMs(this.#tries, this.#random);
    this.#tries += 1;
    this.#isDegraded = true;
    this.#wait(this.#tries < this.#maxTries ? ms : undefined);
  }

  /** Wait for the next attempt; without a network, until there is one. */
  #wait(ms: number | undefined): void {
    const delay = this.#isOnline ? ms : undefined;
    this.#phase = 'waiting';
    this.nextAttemptAt = delay === undefined ? undefined : this.#now + delay;
    this.#setTimer(delay);
  }

  #close(status: Status, isHeld = true): void {
    this.#leave();
    this.#phase = 'closed';
    this.#closeStatus = status;
    this.#isHeld = isHeld;
    this.#ask += 1;
    this.nextAttemptAt = undefined;
  }

  #leave(): void {
    this.#effects.push({ do: 'close' });
    this.#subscriptions.disconnected();
  }

  #setTimer(ms: number | undefined, name: TimerName = 'session'): void {
    this.#effects.push({ do: 'timer', name, ms });
  }
}
