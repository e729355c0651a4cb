import {
  isUserChannel,
  projectChannel,
  projectOf,
  type ClientMessage,
  type Cursors,
  type ServerFrame,
} from '../core/protocol.js';

/** Proxies allow a header 8 KiB, of which some is needed for its name. */
const MAX_EVENT_ID_LENGTH = 7_500;

type Frame<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;
type Subscribe = Extract<ClientMessage, { type: 'subscribe' }>;

export interface StreamRequest {
  readonly query: URLSearchParams;
  /** The header `Last-Event-ID`: a cursor of each channel. */
  readonly lastEventId: string;
}

/**
 * The projects of a stream, which cannot be subscribed to while it is open: another stream with all
 * of them takes its place, and its greeting is turned into the answers that a socket would give.
 */
export class StreamProjects {
  readonly #ids = new Set<string>();
  /** What was asked for since the last greeting. */
  readonly #asked = new Map<string, Subscribe>();
  /** The query of the first request; undefined once it was greeted. */
  #first: URLSearchParams | undefined;

  /** @param query - of the socket in whose place this is: it may have a project and cursors */
  constructor(query: string) {
    this.#first = new URLSearchParams(query);
    for (const id of this.#first.getAll('project_id')) this.#ids.add(id);
  }

  subscribe(message: Subscribe): void {
    this.#ids.add(message.project_id);
    this.#asked.set(message.project_id, message);
  }

  unsubscribe(projectId: string): void {
    this.#ids.delete(projectId);
    this.#asked.delete(projectId);
  }

  /** @param lastId - the id of the newest event, which has all cursors; empty before the first */
  request(lastId: string): StreamRequest {
    const asked = [...this.#asked.values()];
    const cursors = [
      ...(this.#first?.getAll('since') ?? []),
      ...asked.flatMap(({ since }) => since ?? []),
      ...(lastId === '' ? [] : lastId.split(',')),
    ];
    const sent = newest(cursors);
    const query = new URLSearchParams([...this.#ids].map((id) => ['project_id', id]));
    const ages = [Number(this.#first?.get('age') ?? 0), ...asked.map(({ age = 0 }) => age)];
    const age = Math.max(...ages);
    // An age proves nothing for a channel whose cursor was left out: what it has may be older.
    if (age > 0 && sent.length === cursors.length) query.append('age', String(age));
    return { query, lastEventId: sent.join(',') };
  }

  /** Turns a greeting into what a socket that stayed open would have received. */
  greeted(frame: Frame<'connected'>): readonly ServerFrame[] {
    if (this.#first) {
      this.#first = undefined;
      return [frame];
    }
    const isResumed = (channel: string): boolean => frame.resumed.includes(channel);
    const answered = new Set<string>();
    const answers = [...this.#asked.keys()].flatMap((id): ServerFrame[] => {
      const channel = projectChannel(id);
      const cursor = frame.cursors[channel];
      // A project that was added after this request was sent is answered by the next one.
      if (cursor === undefined) return [];
      answered.add(channel);
      this.#asked.delete(id);
      return [{ type: 'subscribed', project_id: id, cursor, resumed: isResumed(channel) }];
    });
    const lost = Object.entries(frame.cursors).filter(
      ([channel]) => !isResumed(channel) && !answered.has(channel),
    );
    // A greeting says that changes arrive, too: if they do not, a status follows.
    return [{ type: 'status', live: true }, ...resets(lost), ...answers];
  }
}

/** The last of the cursors that fit into a header. To leave one out costs only precision. */
function newest(cursors: readonly string[]): readonly string[] {
  let room = MAX_EVENT_ID_LENGTH;
  let start = cursors.length;
  while (start > 0 && (room -= (cursors[start - 1] ?? '').length + 1) >= 0) start -= 1;
  return cursors.slice(start);
}

/** The resets of channels that could not be resumed; the user's own one resets everything. */
function resets(lost: [channel: string, cursor: string][]): ServerFrame[] {
  const data = { reason: 'gap' };
  if (lost.some(([channel]) => isUserChannel(channel))) {
    return [{ type: 'reconnect', data, cursors: Object.fromEntries(lost) }];
  }
  return lost.flatMap(([channel, cursor]): ServerFrame[] => {
    const projectId = projectOf(channel);
    const cursors: Cursors = { [channel]: cursor };
    return projectId === undefined
      ? []
      : [{ type: 'reconnect', data, project_id: projectId, cursors }];
  });
}
