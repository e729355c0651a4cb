import { withCursor, withoutCursor } from './cursors.js';
import type { Effect, Stale } from './events.js';
import { isUserChannel, projectChannel, type Cursors, type ServerFrame } from './protocol.js';

/** What is promised instead of a cursor: what is held was fetched within this time. */
const AGE_MS = 60_000;
/** The server's answer to an age counts only if it comes within this time. */
const AGE_ANSWER_MS = 5_000;

type Phase = 'idle' | 'joining' | 'joined' | 'refused';

interface Place {
  phase: Phase;
  /** When the project was last asked for by its age. */
  agedAt: number;
}

type RefusalReason = 'forbidden' | 'bad_request' | 'revoked';

type Frame<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;

/** Which projects are wanted, how far each channel was heard, and what frames say about both. */
export class Subscriptions {
  private readonly places = new Map<string, Place>();
  private inUrl: string | undefined;
  private urlAgedAt = 0;

  constructor(
    public cursors: Cursors,
    private readonly out: (effect: Effect) => void,
  ) {}

  phase(projectId: string): Phase | undefined {
    return this.places.get(projectId)?.phase;
  }

  isAllRefused(): boolean {
    const places = [...this.places.values()];
    return places.length > 0 && places.every((place) => place.phase === 'refused');
  }

  /** Takes the projects that are wanted from now on; on an open socket it says so. */
  want(projectIds: readonly string[], isConnected: boolean, now: number): void {
    for (const id of this.places.keys()) {
      if (projectIds.includes(id)) continue;
      if (isConnected && this.phase(id) !== 'refused') this.leave(id);
      this.places.delete(id);
    }
    for (const id of projectIds) {
      if (!this.places.has(id)) this.places.set(id, { phase: 'idle', agedAt: 0 });
    }
    if (isConnected) this.join(now);
  }

  /** Asks for what is wanted and was not asked for yet. */
  join(now: number): void {
    for (const [id, place] of this.places) {
      if (place.phase !== 'idle') continue;
      const since = this.cursors[projectChannel(id)];
      place.phase = 'joining';
      place.agedAt = now;
      const how = since === undefined ? { age: AGE_MS } : { since };
      this.out({ do: 'send', message: { type: 'subscribe', project_id: id, ...how } });
    }
  }

  /** The query of the next socket's URL. */
  query(now: number): string {
    this.inUrl = [...this.places].find(([, place]) => place.phase !== 'refused')?.[0];
    this.urlAgedAt = now;
    const query = new URLSearchParams();
    const since = [Object.entries(this.cursors).find(([name]) => isUserChannel(name))?.[1]];
    if (this.inUrl !== undefined) {
      query.set('project_id', this.inUrl);
      since.push(this.cursors[projectChannel(this.inUrl)]);
    }
    for (const cursor of since) if (cursor !== undefined) query.append('since', cursor);
    if (since.includes(undefined)) query.set('age', String(AGE_MS));
    return query.toString();
  }

  /** The socket is gone, and its subscriptions with it. */
  disconnected(): void {
    for (const place of this.places.values()) {
      if (place.phase !== 'refused') place.phase = 'idle';
    }
  }

  /** Gives up the project in the URL, as its handshake was refused; false if it is not why. */
  refuseInUrl(reason: RefusalReason): boolean {
    const id = this.inUrl;
    // A project that is alone may be as right as the rest of a bad request.
    const isWhy = reason === 'forbidden' || [...this.places.keys()].some((other) => other !== id);
    const isRefused = isWhy && id !== undefined;
    if (isRefused) this.refuse(id, reason);
    return isRefused;
  }

  /** A project was lost, and it is not said which: it may be one that was just left. */
  lostOne(): void {
    this.stale({ reason: 'forbidden' });
  }

  receive(frame: ServerFrame, now: number): void {
    switch (frame.type) {
      case 'connected':
        this.connected(frame, now);
        break;
      case 'subscribed':
        this.subscribed(frame, now);
        break;
      case 'cache_invalidate':
        this.changed(frame, now);
        break;
      case 'reconnect':
        this.reconnect(frame, now);
        break;
      case 'unsubscribed':
        if (frame.reason === 'revoked') this.refuse(frame.project_id, 'revoked');
        break;
      case 'error':
        this.failed(frame);
        break;
      default:
    }
  }

  private connected(frame: Frame<'connected'>, now: number): void {
    const before = this.cursors;
    const isLate = now - this.urlAgedAt > AGE_ANSWER_MS;
    const isReset = (channel: string): boolean =>
      !frame.resumed.includes(channel) || (before[channel] === undefined && isLate);

    if (this.inUrl !== undefined) {
      if (!(projectChannel(this.inUrl) in frame.cursors)) {
        this.warn(`"${this.inUrl}" is not how the server spells that project`);
      }
      if (!this.move(this.inUrl, 'joined')) this.leave(this.inUrl);
    }
    const places = Object.entries(frame.cursors);
    if (places.some(([channel]) => isUserChannel(channel) && isReset(channel))) {
      const fresh = places.filter(([channel]) => isReset(channel));
      this.resetAll(Object.fromEntries(fresh), { reason: 'gap' });
    } else {
      for (const [channel, cursor] of places) {
        if (!isReset(channel) && before[channel] !== undefined) continue;
        this.advance(channel, cursor);
        const fetchedBefore = isReset(channel) ? undefined : this.urlAgedAt - AGE_MS;
        const projectId = isUserChannel(channel) ? undefined : this.inUrl;
        this.stale({ projectId, reason: 'gap', fetchedBefore, before });
      }
    }
    this.join(now);
  }

  private subscribed(frame: Frame<'subscribed'>, now: number): void {
    const before = this.cursors;
    const channel = projectChannel(frame.project_id);
    const place = this.move(frame.project_id, 'joined');
    const isAged = frame.resumed && before[channel] === undefined;
    // A newer cursor than the one repeated here may have come since it was sent.
    if (frame.resumed && !isAged) return;
    const agedAt = place?.agedAt ?? -Infinity;
    const isProved = isAged && now - agedAt <= AGE_ANSWER_MS;
    const fetchedBefore = isProved ? agedAt - AGE_MS : undefined;
    this.advance(channel, frame.cursor);
    this.stale({ projectId: frame.project_id, reason: 'gap', fetchedBefore, before });
  }

  private changed(frame: Frame<'cache_invalidate'>, now: number): void {
    const before = this.cursors;
    const { resource, action, project_id: projectId, channel, cursor } = frame;
    if (channel !== undefined && cursor !== undefined) this.advance(channel, cursor);
    const { id, timestamp } = frame.data;
    this.out({
      do: 'emit',
      event: { type: 'change', resource, id, action, projectId, timestamp, channel, before },
    });
    // Listeners mark these events. The names are for older ones, which mark none.
    const mayChangeAccess =
      frame.access === true ||
      resource === 'project_members' ||
      (resource === 'project' && action !== 'UPDATE');
    if (channel === undefined || !isUserChannel(channel) || !mayChangeAccess) return;
    if (projectId === null) return;
    // Pages fetched while the access was lost may hold a refusal, though no row changed since.
    this.forget(projectId);
    this.stale({ projectId, reason: 'access_changed', before });
    this.move(projectId, 'idle');
    this.join(now);
  }

  private reconnect(frame: Frame<'reconnect'>, now: number): void {
    const { project_id: projectId, cursors = {}, spread_ms: spreadMs = 0 } = frame;
    const { reason } = frame.data;
    if (projectId === undefined) {
      this.resetAll(cursors, { reason, spreadMs });
      this.join(now);
    } else {
      this.stale({ projectId, reason, spreadMs });
      for (const [channel, cursor] of Object.entries(cursors)) this.advance(channel, cursor);
    }
  }

  private failed(frame: Frame<'error'>): void {
    const { code, message, project_id: projectId } = frame;
    if (projectId === undefined) {
      this.warn(`${code}: ${message}`);
    } else if (code === 'forbidden' || code === 'bad_request') {
      this.refuse(projectId, code);
    } else {
      this.move(projectId, 'idle');
    }
  }

  /** Everything is stale; only the places given stay known, the others are asked for anew. */
  private resetAll(cursors: Cursors, how: { reason: string; spreadMs?: number }): void {
    this.stale(how);
    this.cursors = cursors;
    for (const [id, place] of this.places) {
      if (cursors[projectChannel(id)] === undefined) place.phase = 'idle';
    }
  }

  private refuse(projectId: string, reason: RefusalReason): void {
    if (reason === 'bad_request') this.warn(`"${projectId}" is not a project`);
    this.stale({ projectId, reason });
    this.move(projectId, 'refused');
    this.forget(projectId);
  }

  /** Nothing, if the project is not wanted any more. */
  private move(projectId: string, phase: Phase): Place | undefined {
    const place = this.places.get(projectId);
    if (place) place.phase = phase;
    return place;
  }

  private advance(channel: string, cursor: string): void {
    this.cursors = withCursor(this.cursors, channel, cursor);
  }

  private forget(projectId: string): void {
    this.cursors = withoutCursor(this.cursors, projectChannel(projectId));
  }

  private leave(projectId: string): void {
    this.out({ do: 'send', message: { type: 'unsubscribe', project_id: projectId } });
  }

  private warn(text: string): void {
    this.out({ do: 'warn', text });
  }

  private stale(event: Partial<Stale> & Pick<Stale, 'reason'>): void {
    const all = { projectId: undefined, fetchedBefore: undefined, spreadMs: 0 };
    this.out({ do: 'emit', event: { type: 'stale', ...all, before: this.cursors, ...event } });
  }
}
