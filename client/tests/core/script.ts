import type { Effect, Input, NeverstaleEvent, Status, TimerName } from '../../src/core/events.js';
import type { ClientMessage, Cursors } from '../../src/core/protocol.js';
import { Session } from '../../src/core/session.js';

/** A session under a clock and a chance of the test's own. */
export class Script {
  now = 1_000_000;
  random = 0.5;
  effects: Effect[] = [];
  /** The status of the connection, as often as it changed. */
  readonly statuses: Status[] = [];
  readonly session: Session;

  constructor(cursors: Cursors = {}, maxTries = Infinity) {
    this.session = new Session(cursors, maxTries);
  }

  /** Feeds an input; gives its effects. */
  feed(input: Input): Effect[] {
    const effects = [...this.session.handle(input, this.now, this.random)];
    this.effects.push(...effects);
    if (this.statuses.at(-1) !== this.status) this.statuses.push(this.status);
    return effects;
  }

  want(...projectIds: string[]): Effect[] {
    return this.feed({ is: 'want', projectIds });
  }

  frame(frame: object): Effect[] {
    return this.feed({ is: 'text', text: JSON.stringify(frame) });
  }

  closed(code: number): Effect[] {
    return this.feed({ is: 'closed', code, error: `closed with ${code}` });
  }

  /** Answers the question for a token that is open; gives the URL's query. */
  token(): URLSearchParams {
    const ask = this.last('ask_token')?.ask ?? -1;
    this.feed({ is: 'token', ask });
    return new URLSearchParams(this.last('open')?.query);
  }

  /** Connects with these projects, all resumed; forgets the effects. */
  connect(projectIds: string[], frame: object = {}): this {
    this.want(...projectIds);
    this.token();
    this.frame(connected(projectIds.slice(0, 1), frame));
    for (const id of projectIds.slice(1)) this.frame(subscribed(id));
    this.effects = [];
    return this;
  }

  /** The timer of the session: for how long it was set last. */
  get timerMs(): number | undefined {
    const last = this.effects.findLast(
      (effect) => effect.do === 'close' || (effect.do === 'timer' && effect.name === 'session'),
    );
    return last?.do === 'timer' ? last.ms : undefined;
  }

  get status(): Status {
    return this.session.status();
  }

  expire(name: TimerName = 'session'): Effect[] {
    return this.feed({ is: 'timer', name });
  }

  private last<T extends Effect['do']>(what: T): Extract<Effect, { do: T }> | undefined {
    return this.effects.findLast(
      (effect): effect is Extract<Effect, { do: T }> => effect.do === what,
    );
  }
}

export function connected(projectIds: string[], frame: object = {}): object {
  const channels = [...projectIds.map((id) => `project:${id}`), 'user:U'];
  const cursors = Object.fromEntries(channels.map((channel) => [channel, `${channel}@1`]));
  return { type: 'connected', cursors, resumed: channels, heartbeat: 30, ...frame };
}

export function subscribed(projectId: string, frame: object = {}): object {
  const cursor = `project:${projectId}@1`;
  return { type: 'subscribed', project_id: projectId, cursor, resumed: true, ...frame };
}

export function change(projectId: string, place: number, frame: object = {}): object {
  const channel = `project:${projectId}`;
  return {
    type: 'cache_invalidate',
    resource: 'task',
    action: 'UPDATE',
    project_id: projectId,
    data: { resource: 'task', id: 'T', timestamp: '2026-11-24T10:00:00.123456Z' },
    channel,
    cursor: `${channel}@${String(place)}`,
    ...frame,
  };
}

export function onUser(projectId: string, resource: string, action: string, id: string): object {
  const data = { resource, id, action, project_id: projectId, timestamp: '' };
  return change(projectId, 0, { resource, action, data, channel: 'user:U', cursor: 'user:U@9' });
}

export function messages(effects: Effect[]): ClientMessage[] {
  return effects.flatMap((effect) => (effect.do === 'send' ? [effect.message] : []));
}

export function events(effects: Effect[]): NeverstaleEvent[] {
  return effects.flatMap((effect) => (effect.do === 'emit' ? [effect.event] : []));
}

/** What the effects call stale, in short: a project, `*` for all, `P<time` for the older part. */
export function stale(effects: Effect[]): string[] {
  return events(effects).flatMap((event) => {
    if (event.type !== 'stale') return [];
    const bound = event.fetchedBefore === undefined ? '' : `<${String(event.fetchedBefore)}`;
    return [(event.projectId ?? '*') + bound];
  });
}
