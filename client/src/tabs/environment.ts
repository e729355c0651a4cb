/** Platform facilities for communication between tabs; tests inject their own. */
export interface TabsEnvironment {
  /** Unique id of this tab. */
  readonly id: string;
  /**
   * Requests an exclusive lock.
   *
   * @param how - `steal`: take it from a tab that does not answer
   * @param on - `held` is called when the lock is acquired, `lost` if another tab steals it
   * @returns a function that releases the lock, or cancels a pending request
   */
  lock(
    name: string,
    how: { steal: boolean },
    on: { held: () => void; lost: () => void },
  ): () => void;
  openChannel(name: string, onMessage: (message: unknown) => void): TabsChannel;
  /** Calls the listener when this tab is about to be frozen; returns a function that cancels it. */
  onFreeze(listener: () => void): () => void;
}

export interface TabsChannel {
  /** Sends a message to all other tabs. */
  readonly post: (message: unknown) => void;
  readonly close: () => void;
}

/** Web Locks and BroadcastChannel; undefined if the platform lacks either. */
export function browserTabs(): TabsEnvironment | undefined {
  const hasAll =
    typeof navigator !== 'undefined' &&
    'locks' in navigator &&
    typeof BroadcastChannel !== 'undefined' &&
    typeof document !== 'undefined';
  if (!hasAll) return undefined;
  return {
    id: crypto.randomUUID(),
    lock(name, { steal }, { held, lost }) {
      const pending = new AbortController();
      let isOver = false;
      let release: (() => void) | undefined;
      const hold = async (): Promise<void> => {
        if (isOver) return;
        const released = new Promise<void>((resolve) => (release = resolve));
        held();
        await released;
      };
      // Web Locks rejects a request that combines `signal` and `steal`.
      const options = steal ? { steal } : { signal: pending.signal };
      navigator.locks.request(name, options, hold).catch((error: unknown) => {
        if (isOver) return;
        if ((error as Error).name === 'AbortError') lost();
        // Where locks are refused (SecurityError), each tab has its own socket.
        else void hold();
      });
      return () => {
        isOver = true;
        if (release) release();
        else pending.abort();
      };
    },
    openChannel(name, onMessage) {
      const channel = new BroadcastChannel(name);
      channel.onmessage = ({ data }) => {
        onMessage(data);
      };
      return {
        post: (message) => {
          channel.postMessage(message);
        },
        close: () => {
          channel.close();
        },
      };
    },
    onFreeze(listener) {
      const controller = new AbortController();
      const { signal } = controller;
      document.addEventListener('freeze', listener, { signal });
      window.addEventListener('pagehide', listener, { signal });
      return () => {
        controller.abort();
      };
    },
  };
}
