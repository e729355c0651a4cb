/** What the connection needs of a WebSocket. */
export interface Socket {
  send(text: string): void;
  close(): void;
}

/** What a socket tells; nothing comes after `closed`. */
export interface SocketListener {
  text(text: string): void;
  closed(code: number): void;
}

export type EnvironmentSignal = 'online' | 'offline' | 'visible' | 'focus';

/** What the connection and its adapters need of the world around them; tests give their own. */
export interface Environment {
  /** Milliseconds since the epoch. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Calls once, later; gives what stops it. */
  setTimer(call: () => void, ms: number): () => void;
  /** What a URL without a host is relative to. */
  readonly baseUrl: string | undefined;
  openSocket(url: string, protocols: string[], listener: SocketListener): Socket;
  /** Milliseconds since the epoch: nothing in memory was fetched before. */
  readonly loadedAt: number;
  isOnline(): boolean;
  isVisible(): boolean;
  /** Gives what stops it. */
  onSignal(listener: (signal: EnvironmentSignal) => void): () => void;
  warn(text: string): void;
}

/** The browser's; without `window` (Node, workers) it is always online and visible. */
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
        listener.closed(event.code);
      };
      return {
        // While it closes, a browser only drops what is sent.
        send: (text) => {
          if (socket.readyState === WebSocket.OPEN) socket.send(text);
        },
        close: () => {
          socket.close();
        },
      };
    },
    loadedAt: performance.timeOrigin,
    isOnline: () => !inBrowser || navigator.onLine,
    isVisible,
    onSignal(listener) {
      if (!inBrowser) return () => undefined;
      const controller = new AbortController();
      const { signal } = controller;
      for (const event of ['online', 'offline', 'focus'] as const) {
        window.addEventListener(
          event,
          () => {
            listener(event);
          },
          { signal },
        );
      }
      document.addEventListener(
        'visibilitychange',
        () => {
          if (isVisible()) listener('visible');
        },
        { signal },
      );
      return () => {
        controller.abort();
      };
    },
    warn: (text) => {
      console.warn(`neverstale: ${text}`);
    },
  };
}
