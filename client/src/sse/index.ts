import { DRAINING, SUBPROTOCOL, type ClientMessage, type ServerFrame } from '../core/protocol.js';
import type { Environment, Socket, SocketListener } from '../environment.js';
import { EventParser } from './parser.js';
import { StreamProjects } from './projects.js';

/** Projects that are opened or released within this time share one new stream. */
const GATHER_MS = 50;
/** How often a WebSocket is tried again, on average; the first time sooner: perhaps none was blocked. */
const SOCKET_RETRY_MS = 300_000;
const FIRST_SOCKET_RETRY_MS = 10_000;
/** A close code that no server sends: the connection was lost. */
const LOST = 1006;
const UNAVAILABLE = 1013;

/**
 * Opens a stream of server-sent events that plays a WebSocket: what is sent on it, it does by
 * opening another stream that resumes where this one is.
 *
 * @param url - of the WebSocket in whose place it is, with its query
 * @param token - returns the newest token
 * @param onSocket - called when a WebSocket could be opened; then the stream is closed. False: none
 *   is tried
 */
export function openStream(
  url: string,
  environment: Environment,
  listener: SocketListener,
  token: () => string,
  onSocket: false | (() => void),
): Socket {
  const [socketUrl = '', query = ''] = url.split('?');
  const streamUrl = socketUrl.replace(/^ws/, 'http').replace(/\/ws$/, '/sse');
  const projects = new StreamProjects(query);
  let lastId = '';
  let isClosed = false;
  let request = new AbortController();
  let stopGathering: (() => void) | undefined;
  let stopWaiting: (() => void) | undefined;
  let probe: Socket | undefined;

  function open(): void {
    stopGathering?.();
    stopGathering = undefined;
    request.abort();
    request = new AbortController();
    const { signal } = request;
    read(signal).catch((error: unknown) => {
      if (!signal.aborted) end(LOST, String(error));
    });
  }

  async function read(signal: AbortSignal): Promise<void> {
    const { query: search, lastEventId } = projects.request(lastId);
    const response = await environment.fetch?.(`${streamUrl}?${search.toString()}`, {
      headers: {
        Accept: 'text/event-stream',
        Authorization: `Bearer ${token()}`,
        ...(lastEventId !== '' && { 'Last-Event-ID': lastEventId }),
      },
      cache: 'no-store',
      signal,
    });
    if (!response) throw new Error('no fetch here');
    if (!response.ok) {
      const [code, reason] = await refusal(response);
      if (!signal.aborted) end(code, reason);
      return;
    }
    const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream') ?? false;
    if (!isStream || !response.body) throw new Error('the answer is no stream of events');
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error('the stream ended');
      for (const part of parser.feed(decoder.decode(value, { stream: true }))) {
        if (signal.aborted) return;
        if (part === 'comment') tell({ type: 'pong' });
        else take(part.data);
        // After the event: if it cannot be taken, it must be sent again.
        lastId = parser.lastId || lastId;
      }
    }
  }

  function take(text: string): void {
    const frame = JSON.parse(text) as ServerFrame | { type: 'close'; code: number; reason: string };
    switch (frame.type) {
      case 'connected':
        for (const answer of projects.greeted(frame)) tell(answer);
        break;
      case 'close':
        end(frame.code, frame.reason);
        break;
      case 'error':
      case 'unsubscribed':
        if (frame.project_id !== undefined) projects.unsubscribe(frame.project_id);
        listener.text(text);
        break;
      default:
        listener.text(text);
    }
  }

  function tell(frame: ServerFrame): void {
    listener.text(JSON.stringify(frame));
  }

  function waitForSocket(ms: number): void {
    if (!onSocket) return;
    stopWaiting?.();
    stopWaiting = environment.setTimer(trySocket, ms * (0.5 + environment.random()));
  }

  function trySocket(): void {
    probe?.close();
    waitForSocket(SOCKET_RETRY_MS);
    const opened = environment.openSocket(socketUrl, [SUBPROTOCOL, `bearer.${token()}`], {
      text() {
        if (probe !== opened || isClosed) return;
        if (onSocket) onSocket();
        end(DRAINING, 'a WebSocket can be opened again');
      },
      closed() {
        if (probe === opened) probe = undefined;
      },
    });
    probe = opened;
  }

  function close(): void {
    isClosed = true;
    stopSignals();
    stopGathering?.();
    stopWaiting?.();
    request.abort();
    probe?.close();
  }

  function end(code: number, reason: string): void {
    if (isClosed) return;
    close();
    listener.closed(code, reason);
  }

  const stopSignals = environment.onSignal((signal) => {
    if (signal === 'online' && onSocket) trySocket();
  });
  waitForSocket(FIRST_SOCKET_RETRY_MS);
  open();

  return {
    send(text) {
      const message = JSON.parse(text) as ClientMessage;
      if (message.type === 'subscribe') projects.subscribe(message);
      if (message.type === 'unsubscribe') projects.unsubscribe(message.project_id);
      if (message.type === 'auth' || message.type === 'ping') open();
      else stopGathering ??= environment.setTimer(open, GATHER_MS);
    },
    close,
  };
}

/** The close code of a refused request, and the reason. Only a gateway's own refusal counts. */
async function refusal(response: Response): Promise<[code: number, reason: string]> {
  const { status } = response;
  try {
    const { error } = (await response.json()) as { error: { code: string; message: string } };
    return [status === 503 ? UNAVAILABLE : 4_000 + status, `${error.code}: ${error.message}`];
  } catch {
    return [LOST, `HTTP ${status}`];
  }
}
