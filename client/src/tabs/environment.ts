/** What tabs need to find each other; tests give their own. */
export interface TabsEnvironment {
  /** A name for this tab that no other has. */
  readonly id: string;
  /**
   * Asks for a lock that one tab holds at a time.
   *
   * @param how - `steal`: take it from a tab that does not answer
   * @param on - `held`, then perhaps `lost` (stolen)
   * @returns what gives it back, or stops asking
   */
  lock(
    name: string,
    how: { steal: boolean },
    on: { held: () => void; lost: () => void },
  ): () => void;
  openChannel(name: string, onMessage: (message: unknown) => void): TabsChannel;
  /** Calls when this tab is about to be frozen; gives what stops it. */
  onFreeze(listener: () => void): () => void;
}

export interface TabsChannel {
  /** To all other tabs. */
  readonly post: (message: unknown) => void;
  readonly close: () => void;
}

/** Web Locks and BroadcastChannel; undefined where they are missing. */
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
      const asking = new AbortController();
      let isOver = false;
      let release: (() => void) | undefined;
      const holding = async (): Promise<void> => {
        if (isOver) return;
        const holds = new Promise<void>((resolve) => (release = resolve));
        held();
        await holds;
      };
      // A signal and a theft exclude each other.
      const options = steal ? { steal } : { signal: asking.signal };
      navigator.locks.request(name, options, holding).catch(() => {
        if (!isOver) lost();
      });
      return () => {
        isOver = true;
        if (release) release();
        else asking.abort();
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
