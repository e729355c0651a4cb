/** The part of a WebSocket that the connection uses. */
export interface Socket {
  send(text: string): void;
  close(): void;
}

/** Socket callbacks; `closed` is the last one. */
export interface SocketListener {
  text(text: string): void;
  /** `reason`: that of the Close frame. */
  closed(code: number, reason?: string): void;
}

export type EnvironmentSignal = 'online' | 'offline' | 'visible' | 'focus';

/** Platform facilities; tests inject their own. */
export interface Environment {
  /** Milliseconds since the epoch. */
  now(): number;
  /** A random number in [0, 1). */
  random(): number;
  /** Calls `call` once after `ms`; returns a function that cancels it. */
  setTimer(call: () => void, ms: number): () => void;
  /** Base for resolving a relative URL. */
  readonly baseUrl: string | undefined;
  openSocket(url: string, protocols: string[], listener: SocketListener): Socket;
  /** For server-sent events: its responses are streams. Undefined: WebSockets only. */
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /** When the page loaded, in milliseconds since the epoch: no in-memory data is older. */
  readonly loadedAt: number;
  isOnline(): boolean;
  isVisible(): boolean;
  /** Calls the listener on each signal; returns a function that cancels it. */
  onSignal(listener: (signal: EnvironmentSignal) => void): () => void;
  /** `error`: what was thrown, if anything was. */
  warn(text: string, error?: unknown): void;
}

// Numbers, because a replacement of WebSocket need not have the names.
const CONNECTING = 0;
const OPEN = 1;

/** The browser's environment; without `window` (Node, workers), always online and visible. */
export function browserEnvironment(): Environment {
  const inBrowser = typeof window !== 'undefined' && typeof document !== 'undefined';
  const isVisible = (): boolean => !inBrowser || document.visibilityState === 'visible';
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    setTimer(call, ms) {
      const timer = setTimeout(call, ms);
      return () => {
        clearTimeout(timer);
      };
    },
    baseUrl: inBrowser ? window.location.href : undefined,
    openSocket(url, protocols, listener) {
      const socket = new WebSocket(url, protocols);
      socket.onmessage = (event) => {
        listener.text(String(event.data));
      };
      socket.onclose = (event) => {
        listener.closed(event.code, event.reason);
      };
      // The sockets of `ws` throw what they have no listener for. The close event follows.
      socket.onerror = () => undefined;
      const close = (): void => {
        socket.close();
      };
      return {
        // A closing socket drops messages, and browsers report each one as an error in the console.
        send: (text) => {
          if (socket.readyState === OPEN) socket.send(text);
        },
        close: () => {
          if (!inBrowser || socket.readyState !== CONNECTING) close();
          else {
            // Browsers report it as an error in the console if a socket is closed before it is open.
            // They open one at a time to a server (RFC 6455, 4.1), so it must not stay for long.
            socket.onopen = close;
            setTimeout(close, 1_000);
          }
        },
      };
    },
    fetch: (url, init) => fetch(url, init),
    loadedAt: performance.timeOrigin,
    isOnline: () => !inBrowser || navigator.onLine,
    isVisible,
    onSignal(listener) {
      if (!inBrowser) return () => undefined;
      const controller = new AbortController();
      const { signal } = controller;
      const hear = ({ type }: Event): void => {
        listener(type as EnvironmentSignal);
      };
      const see = (): void => {
        if (isVisible()) listener('visible');
      };
      for (const type of ['online', 'offline', 'focus']) {
        window.addEventListener(type, hear, { signal });
      }
      document.addEventListener('visibilitychange', see, { signal });
      return () => {
        controller.abort();
      };
    },
    warn: (text, ...error) => {
      console.warn(`neverstale: ${text}`, ...error);
    },
  };
}
