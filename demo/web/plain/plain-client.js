/** What each change makes stale: the table of docs/reference/client-api.md, as prefixes of query keys. */
const TARGETS = {
  project: (id) => [
    ['projects', 'detail', id],
    ['projects', 'list'],
  ],
  sprint: (id, projectId) => [
    ['sprints', 'detail', id],
    ['sprints', 'list', projectId],
    ['projects', 'bundle', projectId],
  ],
  task: (id, projectId) => [
    ['tasks', 'detail', id],
    ['tasks', 'list', projectId],
    ['tasks', 'sprint'],
  ],
  project_members: (id, projectId) => [
    ['projectMembers', projectId],
    ['projects', 'bundle', projectId],
    ['projects', 'list'],
  ],
  message: (id, projectId) => [['messages', 'list', projectId]],
};

const MOST_TRIES = 10;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** A malformed request, and no access (any more). */
const STAY_AWAY = [4400, 4403];

/**
 * A client as one writes it by hand: it knows `cache_invalidate` and `reconnect`, no subprotocol,
 * no cursor. In a browser the cookie says who it is; `ws` of Node sends a token in a header.
 */
export class PlainClient {
  /**
   * @param url - the gateway's endpoint
   * @param invalidate - called with a list of query keys, or with nothing and the reason why:
   *   everything is stale
   * @param onState - called with `live`, or with the close code and what follows: until it is `live`
   *   again, changes are missed
   * @param WebSocketClass - the browser's, or that of `ws`
   */
  constructor({ url, invalidate, onState = () => undefined, WebSocketClass = WebSocket }) {
    Object.assign(this, { url, invalidate, onState, WebSocketClass });
    this.tries = 0;
  }

  connect(projectId, token) {
    this.again = undefined;
    const url = new URL(this.url);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('project_id', projectId);
    // A browser takes no third argument, and ignores it.
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    this.socket = new this.WebSocketClass(url.href, [], { headers });
    this.socket.onmessage = ({ data }) => {
      this.tries = 0;
      this.receive(JSON.parse(data));
    };
    this.socket.onclose = ({ code }) => this.closed(code, () => this.connect(projectId, token));
    this.socket.onerror = () => undefined; // `closed` follows; `ws` throws where nobody listens
  }

  closed(code, again) {
    if (this.isOver || STAY_AWAY.includes(code)) {
      this.onState(`closed with ${code}`);
      if (!this.isOver) this.invalidate(undefined, 'access was lost');
      return;
    }
    this.again = again;
    if (this.tries >= MOST_TRIES) {
      this.onState(`closed with ${code}: given up`);
      return;
    }
    const longest = Math.min(FIRST_PAUSE_MS * 2 ** this.tries, LONGEST_PAUSE_MS);
    const pause = longest * (0.5 + Math.random() / 2);
    this.tries += 1;
    this.timer = setTimeout(again, pause);
    this.onState(`closed with ${code}: trying again in ${Math.ceil(pause / 1_000)} s`);
  }

  /** Skip the pause: the network is back, or the page is visible again. */
  retry() {
    clearTimeout(this.timer);
    this.again?.();
  }

  close() {
    this.isOver = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  receive(frame) {
    if (frame.type === 'reconnect') {
      this.onState('live');
      this.invalidate(undefined, frame.data.reason);
    } else if (frame.type === 'cache_invalidate') {
      const keys = TARGETS[frame.resource]?.(frame.data.id, frame.project_id);
      this.invalidate(keys, frame.resource);
    }
  }
}
