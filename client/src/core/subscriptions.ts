import { withCursor, withoutCursor } from './cursors.js';
import type { Effect, Stale } from './events.js';
import { isUserChannel, projectChannel, type Cursors, type ServerFrame } from './protocol.js';

/** Sent as `age` without a cursor: the project's cached data was fetched within this time. */
const AGE_MS = 60_000;
/** An answer to `age` proves freshness only if it arrives within this time. */
const AGE_ANSWER_MS = 5_000;

type Phase = 'idle' | 'subscribing' | 'subscribed' | 'refused';

interface Subscription {
  phase: Phase;
  /** When `subscribe` was last sent: the time that its `age` counts back from. */
  askedAt: number;
}

type RefusalReason = 'forbidden' | 'bad_request' | 'revoked';

type Frame<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;

/** The wanted projects, the cursor of each channel, and the effects of frames on both. */
export class Subscriptions {
  readonly #projects = new Map<string, Subscription>();
  #inUrl: string | undefined;
  #urlAskedAt = 0;

  readonly #emit: (effect: Effect) => void;

  constructor(
    public cursors: Cursors,
    emit: (effect: Effect) => void,
  ) {
    this.#emit = emit;
  }

  phase(projectId: string): Phase | undefined {
    return this.#projects.get(projectId)?.phase;
  }

  /** Set the wanted projects and, if connected, subscribe and unsubscribe accordingly. */
  want(projectIds: readonly string[], isConnected: boolean, now: number): void {
    for (const id of this.#projects.keys()) {
      if (projectIds.includes(id)) continue;
      if (isConnected && this.phase(id) !== 'refused') this.#unsubscribe(id);
      this.#projects.delete(id);
    }
    for (const id of projectIds) {
      if (!this.#projects.has(id)) this.#projects.set(id, { phase: 'idle', askedAt: 0 });
    }
    if (isConnected) this.subscribe(now);
  }

  /** Subscribe to every idle project. */
  subscribe(now: number): void {
    for (const [id, subscription] of this.#projects) {
      if (subscription.phase !== 'idle') continue;
      const since = this.cursors[projectChannel(id)];
      subscription.phase = 'subscribing';
      subscription.askedAt = now;
      const from = since === undefined ? { age: AGE_MS } : { since };
      this.#emit({ do: 'send', message: { type: 'subscribe', project_id: id, ...from } });
    }
  }

  /** Build the query of the next socket's URL. */
  query(now: number): string {
    this.#inUrl = [...this.#projects].find(([, one]) => one.phase !== 'refused')?.[0];
    this.#urlAskedAt = now;
    const query = new URLSearchParams();
    const since = [Object.entries(this.cursors).find(([name]) => isUserChannel(name))?.[1]];
    if (this.#inUrl !== undefined) {
      query.append('project_id', this.#inUrl);
      since.push(this.cursors[projectChannel(this.#inUrl)]);
    }
    for (const cursor of since) if (cursor !== undefined) query.append('since', cursor);
    if (since.includes(undefined)) query.append('age', String(AGE_MS));
    return query.toString();
  }

  /** The socket closed, which ended its subscriptions; `alsoRefused`: ask for those again, too. */
  disconnected(alsoRefused = false): void {
    for (const subscription of this.#projects.values()) {
      if (alsoRefused || subscription.phase !== 'refused') subscription.phase = 'idle';
    }
  }

  /** Refuse the project in the URL of a refused handshake; false if it was not the cause. */
  refuseInUrl(reason: RefusalReason): boolean {
    const id = this.#inUrl;
    // With a single project, a bad request does not prove that its id was the malformed part.
    const isWhy =
      reason === 'forbidden' || [...this.#projects.keys()].some((other) => other !== id);
    const isRefused = isWhy && id !== undefined;
    if (isRefused) this.#refuse(id, reason);
    return isRefused;
  }

  /** Access to an unnamed project was lost; it may be one that was just unsubscribed. */
  accessLost(): void {
    this.#stale({ reason: 'forbidden' });
  }

  receive(frame: ServerFrame, now: number): void {
    switch (frame.type) {
      case 'connected':
        this.#connected(frame, now);
        break;
      case 'subscribed':
        this.#subscribed(frame, now);
        break;
      case 'cache_invalidate':
        this.#changed(frame, now);
        break;
      case 'reconnect':
        this.#reconnect(frame, now);
        break;
      case 'unsubscribed':
        if (frame.reason === 'revoked') this.#refuse(frame.project_id, 'revoked');
        break;
      case 'error':
        this.#failed(frame);
        break;
      default:
    }
  }

  #connected(frame: Frame<'connected'>, now: number): void {
    const before = this.cursors;
    const isLate = now - this.#urlAskedAt > AGE_ANSWER_MS;
    const isReset = (channel: string): boolean =>
      !frame.resumed.includes(channel) || (before[channel] === undefined && isLate);

    if (this.#inUrl !== undefined) {
      if (!(projectChannel(this.#inUrl) in frame.cursors)) {
        this.#warn(`"${this.#inUrl}" is not how the server spells that project`);
      }
      if (!this.#setPhase(this.#inUrl, 'subscribed')) this.#unsubscribe(this.#inUrl);
    }
    const entries = Object.entries(frame.cursors);
    if (entries.some(([channel]) => isUserChannel(channel) && isReset(channel))) {
      const fresh = entries.filter(([channel]) => isReset(channel));
      this.#resetAll(Object.fromEntries(fresh), { reason: 'gap' });
    } else {
      for (const [channel, cursor] of entries) {
        if (!isReset(channel) && before[channel] !== undefined) continue;
        this.#advance(channel, cursor);
        const fetchedBefore = isReset(channel) ? undefined : this.#urlAskedAt - AGE_MS;
        const projectId = isUserChannel(channel) ? undefined : this.#inUrl;
        this.#stale({ projectId, reason: 'gap', fetchedBefore, before });
      }
    }
    this.subscribe(now);
  }

  #subscribed(frame: Frame<'subscribed'>, now: number): void {
    const before = this.cursors;
    const channel = projectChannel(frame.project_id);
    const subscription = this.#setPhase(frame.project_id, 'subscribed');
    const isAged = frame.resumed && before[channel] === undefined;
    // This frame repeats the requested cursor; replayed events may already have advanced past it.
    if (frame.resumed && !isAged) return;
    const askedAt = subscription?.askedAt ?? -Infinity;
    const isProved = isAged && now - askedAt <= AGE_ANSWER_MS;
    const fetchedBefore = isProved ? askedAt - AGE_MS : undefined;
    this.#advance(channel, frame.cursor);
    this.#stale({ projectId: frame.project_id, reason: 'gap', fetchedBefore, before });
  }

  #changed(frame: Frame<'cache_invalidate'>, now: number): void {
    const before = this.cursors;
    const { resource, action, project_id: projectId, channel, cursor } = frame;
    // Before the cursor advances: if the frame is malformed, it must be sent again.
    const { id, timestamp } = frame.data;
    if (channel !== undefined && cursor !== undefined) this.#advance(channel, cursor);
    this.#emit({
      do: 'emit',
      event: { type: 'change', resource, id, action, projectId, timestamp, channel, before },
    });
    // Servers mark these events with `access`; the resource names cover older servers.
    const mayChangeAccess =
      frame.access === true ||
      resource === 'project_members' ||
      (resource === 'project' && action !== 'UPDATE');
    if (channel === undefined || !isUserChannel(channel) || !mayChangeAccess) return;
    if (projectId === null) return;
    // Queries fetched without access may have cached a refusal that no row change invalidates.
    this.#forget(projectId);
    this.#stale({ projectId, reason: 'access_changed', before });
    this.#setPhase(projectId, 'idle');
    this.subscribe(now);
  }

  #reconnect(frame: Frame<'reconnect'>, now: number): void {
    const { project_id: projectId, cursors = {}, spread_ms: spreadMs = 0 } = frame;
    const { reason } = frame.data;
    if (projectId === undefined) {
      this.#resetAll(cursors, { reason, spreadMs });
      this.subscribe(now);
    } else {
      this.#stale({ projectId, reason, spreadMs });
      for (const [channel, cursor] of Object.entries(cursors)) this.#advance(channel, cursor);
    }
  }

  #failed(frame: Frame<'error'>): void {
    const { code, message, project_id: projectId } = frame;
    if (projectId === undefined) {
      this.#warn(`${code}: ${message}`);
    } else if (code === 'forbidden' || code === 'bad_request') {
      this.#refuse(projectId, code);
    } else {
      this.#setPhase(projectId, 'idle');
    }
  }

  /** Everything is stale; keep only the given cursors and resubscribe to the other projects. */
  #resetAll(cursors: Cursors, details: { reason: string; spreadMs?: number }): void {
    this.#stale(details);
    this.cursors = cursors;
    for (const [id, subscription] of this.#projects) {
      if (cursors[projectChannel(id)] === undefined) subscription.phase = 'idle';
    }
  }

  #refuse(projectId: string, reason: RefusalReason): void {
    if (reason === 'bad_request') this.#warn(`"${projectId}" is not a project`);
    this.#stale({ projectId, reason });
    this.#setPhase(projectId, 'refused');
    this.#forget(projectId);
  }

  /** Set a project's phase; undefined if the project is no longer wanted. */
  #setPhase(projectId: string, phase: Phase): Subscription | undefined {
    const subscription = this.#projects.get(projectId);
    if (subscription) subscription.phase = phase;
    return subscription;
  }

  #advance(channel: string, cursor: string): void {
    this.cursors = withCursor(this.cursors, channel, cursor);
  }

  #forget(projectId: string): void {
    this.cursors = withoutCursor(this.cursors, projectChannel(projectId));
  }

  #unsubscribe(projectId: string): void {
    this.#emit({ do: 'send', message: { type: 'unsubscribe', project_id: projectId } });
  }

  #warn(text: string): void {
    this.#emit({ do: 'warn', text });
  }

  #stale(event: Partial<Stale> & Pick<Stale, 'reason'>): void {
    const all = { projectId: undefined, fetchedBefore: undefined, spreadMs: 0 };
    this.#emit({ do: 'emit', event: { type: 'stale', ...all, before: this.cursors, ...event } });
  }
}
