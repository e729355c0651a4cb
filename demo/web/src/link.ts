import { browserEnvironment, type Environment, type EnvironmentSignal } from 'neverstale';

/** An environment with a switch that cuts the network for all tabs of a user. */
export class Link {
  readonly environment: Environment;
  private readonly key: string;
  private readonly listeners = new Set<() => void>();
  private readonly signals = new Set<(signal: EnvironmentSignal) => void>();
  private readonly cutSockets = new Set<() => void>();

  constructor(userId: string) {
    this.key = `cut ${userId}`;
    const browser = browserEnvironment();
    this.environment = {
      ...browser,
      isOnline: () => !this.isCut() && browser.isOnline(),
      openSocket: (url, protocols, listener) => {
        const socket = browser.openSocket(url, protocols, {
          text: (text) => {
            listener.text(text);
          },
          closed: (code) => {
            if (this.cutSockets.delete(cut)) listener.closed(code);
          },
        });
        const cut = (): void => {
          this.cutSockets.delete(cut);
          socket.close();
          listener.closed(1006);
        };
        this.cutSockets.add(cut);
        if (this.isCut()) queueMicrotask(cut);
        return socket;
      },
      onSignal: (listener) => {
        this.signals.add(listener);
        const stop = browser.onSignal((signal) => {
          if (!this.isCut()) listener(signal);
        });
        return () => {
          this.signals.delete(listener);
          stop();
        };
      },
    };
    window.addEventListener('storage', (event) => {
      if (event.key === this.key) this.apply();
    });
  }

  readonly isCut = (): boolean => localStorage.getItem(this.key) !== null;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  cut(isCut: boolean): void {
    if (isCut) localStorage.setItem(this.key, '');
    else localStorage.removeItem(this.key);
    this.apply();
  }

  private apply(): void {
    const isCut = this.isCut();
    for (const signal of [...this.signals]) signal(isCut ? 'offline' : 'online');
    if (isCut) for (const cut of [...this.cutSockets]) cut();
    for (const listener of this.listeners) listener();
  }
}
