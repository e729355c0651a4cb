import type { TabsChannel, TabsEnvironment } from '../../src/tabs/index.js';

interface Request {
  readonly name: string;
  readonly held: () => void;
  readonly lost: () => void;
}

/** The browser around some tabs: its locks and its channels. */
export class Hub {
  /** What is said while it is set is lost. */
  isDeaf = false;
  private readonly requests: Request[] = [];
  private readonly channels = new Map<object, { name: string; hear: (text: unknown) => void }>();

  tab(id: string): FakeTab {
    return new FakeTab(this, id);
  }

  ask(request: Request, steal: boolean): () => void {
    const { name } = request;
    const holder = this.holder(name);
    if (steal && holder) {
      this.requests.splice(this.requests.indexOf(holder), 1, request);
      queueMicrotask(holder.lost);
    } else {
      this.requests.push(request);
    }
    if (this.holder(name) === request) queueMicrotask(request.held);
    return () => {
      const wasHolder = this.holder(name) === request;
      const index = this.requests.indexOf(request);
      if (index >= 0) this.requests.splice(index, 1);
      const next = this.holder(name);
      if (wasHolder && next) queueMicrotask(next.held);
    };
  }

  openChannel(name: string, hear: (message: unknown) => void): TabsChannel {
    const key = {};
    this.channels.set(key, { name, hear });
    return {
      post: (message) => {
        if (this.isDeaf) return;
        for (const [other, channel] of this.channels) {
          if (other === key || channel.name !== name) continue;
          setTimeout(channel.hear, 0, structuredClone(message));
        }
      },
      close: () => {
        this.channels.delete(key);
      },
    };
  }

  private holder(name: string): Request | undefined {
    return this.requests.find((request) => request.name === name);
  }
}

export class FakeTab implements TabsEnvironment {
  /** Set: it neither hears nor says anything. */
  isFrozen = false;
  private onFreezing: (() => void) | undefined;

  constructor(
    private readonly hub: Hub,
    readonly id: string,
  ) {}

  lock(
    name: string,
    how: { steal: boolean },
    on: { held: () => void; lost: () => void },
  ): () => void {
    return this.hub.ask({ name, ...on }, how.steal);
  }

  openChannel(name: string, onMessage: (message: unknown) => void): TabsChannel {
    const channel = this.hub.openChannel(name, (message) => {
      if (!this.isFrozen) onMessage(message);
    });
    const post = (message: unknown): void => {
      if (!this.isFrozen) channel.post(message);
    };
    return { post, close: channel.close };
  }

  onFreeze(listener: () => void): () => void {
    this.onFreezing = listener;
    return () => {
      this.onFreezing = undefined;
    };
  }

  freeze(): void {
    this.onFreezing?.();
    this.isFrozen = true;
  }
}
