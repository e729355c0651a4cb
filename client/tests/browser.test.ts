// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { browserEnvironment } from '../src/index.js';
import { browserTabs } from '../src/tabs/environment.js';

class FakeWebSocket {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static newest: FakeWebSocket;
  readyState = 0;
  readonly sent: string[] = [];
  onmessage: (event: { data: unknown }) => void = () => undefined;
  onopen: () => void = () => undefined;
  onclose: (event: { code: number; reason: string }) => void = () => undefined;
  close = vi.fn();

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {
    FakeWebSocket.newest = this;
  }

  send(text: string): void {
    this.sent.push(text);
  }
}

function setVisibility(state: 'visible' | 'hidden'): void {
  vi.spyOn(document, 'visibilityState', 'get').mockReturnValue(state);
  document.dispatchEvent(new Event('visibilitychange'));
}

beforeEach(() => {
  vi.stubGlobal('WebSocket', FakeWebSocket);
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("the browser's environment", () => {
  it('tells of the network, the view and the focus until it is stopped', () => {
    const heard: string[] = [];
    const environment = browserEnvironment();
    const stop = environment.onSignal((signal) => heard.push(signal));
    window.dispatchEvent(new Event('offline'));
    window.dispatchEvent(new Event('online'));
    window.dispatchEvent(new Event('focus'));
    setVisibility('hidden');
    expect(environment.isVisible()).toBe(false);
    setVisibility('visible');
    expect(environment.isVisible()).toBe(true);
    expect(heard).toEqual(['offline', 'online', 'focus', 'visible']);
    stop();
    window.dispatchEvent(new Event('online'));
    expect(heard).toHaveLength(4);
  });

  it('opens sockets, and sends only through open ones', () => {
    const listener = { text: vi.fn(), closed: vi.fn() };
    const socket = browserEnvironment().openSocket('wss://h/ws', ['a', 'b'], listener);
    const { newest } = FakeWebSocket;
    expect([newest.url, newest.protocols]).toEqual(['wss://h/ws', ['a', 'b']]);
    socket.send('too early');
    newest.readyState = 1;
    socket.send('now');
    expect(newest.sent).toEqual(['now']);
    newest.onmessage({ data: 'frame' });
    newest.onclose({ code: 1012, reason: 'draining' });
    expect(listener.text).toHaveBeenCalledWith('frame');
    expect(listener.closed).toHaveBeenCalledWith(1012, 'draining');
    socket.close();
    expect(newest.close).toHaveBeenCalledOnce();
  });

  it('closes a socket that is not open yet once it is, or soon', () => {
    vi.useFakeTimers();
    const listener = { text: vi.fn(), closed: vi.fn() };
    const environment = browserEnvironment();
    environment.openSocket('wss://h/ws', [], listener).close();
    const { newest } = FakeWebSocket;
    expect(newest.close).not.toHaveBeenCalled();
    newest.onopen();
    expect(newest.close).toHaveBeenCalledOnce();
    environment.openSocket('wss://h/ws', [], listener).close();
    vi.advanceTimersByTime(1_000);
    expect(FakeWebSocket.newest.close).toHaveBeenCalledOnce();
    vi.useRealTimers();
  });

  it('knows the page, the network and the time of its load', () => {
    const environment = browserEnvironment();
    expect(environment.baseUrl).toBe(window.location.href);
    expect(environment.isOnline()).toBe(navigator.onLine);
    expect(environment.loadedAt).toBe(performance.timeOrigin);
    expect(environment.now()).toBeGreaterThanOrEqual(environment.loadedAt);
    expect(environment.random()).toBeLessThan(1);
  });
});

describe("the browser's tabs", () => {
  interface Asked {
    options: { steal?: boolean; signal?: AbortSignal };
    hold: () => Promise<void>;
    lose: (reason: Error) => void;
  }

  function stubLocks(): Asked[] {
    const asked: Asked[] = [];
    const request = (_: string, options: Asked['options'], hold: Asked['hold']): Promise<void> =>
      new Promise((_resolve, lose) => {
        asked.push({ options, hold, lose });
      });
    vi.stubGlobal('navigator', { locks: { request } });
    return asked;
  }

  function ask(steal: boolean): {
    asked: Asked;
    release: () => void;
    on: { held: () => void; lost: () => void };
  } {
    const requests = stubLocks();
    const on = { held: vi.fn(), lost: vi.fn() };
    const release = browserTabs()?.lock('L', { steal }, on);
    const [asked] = requests;
    if (!asked || !release) throw new Error('nothing was asked');
    return { asked, release, on };
  }

  it('hold a lock until it is given back', async () => {
    const { asked, release, on } = ask(false);
    const holding = asked.hold();
    expect(on.held).toHaveBeenCalledOnce();
    release();
    await holding;
    expect(asked.options.signal?.aborted).toBe(false);
  });

  it('stop asking for a lock', () => {
    const { asked, release } = ask(false);
    release();
    expect(asked.options.signal?.aborted).toBe(true);
  });

  it('do not take a lock that comes too late', async () => {
    const { asked, release, on } = ask(true);
    expect(asked.options).toEqual({ steal: true });
    release();
    await asked.hold();
    expect(on.held).not.toHaveBeenCalled();
  });

  it('learn that a lock was stolen', async () => {
    const { asked, on } = ask(false);
    void asked.hold();
    asked.lose(new DOMException('stolen', 'AbortError'));
    await Promise.resolve();
    await Promise.resolve();
    expect(on.lost).toHaveBeenCalledOnce();
  });

  it('hold what is refused to all of them: each has its own socket', async () => {
    const { asked, on } = ask(false);
    asked.lose(new DOMException('not in this frame', 'SecurityError'));
    await Promise.resolve();
    await Promise.resolve();
    expect(on.held).toHaveBeenCalledOnce();
    expect(on.lost).not.toHaveBeenCalled();
  });

  it('talk over a channel of that name', async () => {
    stubLocks();
    const heard = vi.fn();
    const one = browserTabs()?.openChannel('c', vi.fn());
    const other = browserTabs()?.openChannel('c', heard);
    one?.post({ is: 'lead' });
    await vi.waitFor(() => {
      expect(heard).toHaveBeenCalledWith({ is: 'lead' });
    });
    one?.close();
    other?.close();
  });

  it('tell before they are frozen or left', () => {
    stubLocks();
    const freezing = vi.fn();
    const stop = browserTabs()?.onFreeze(freezing);
    document.dispatchEvent(new Event('freeze'));
    window.dispatchEvent(new Event('pagehide'));
    stop?.();
    window.dispatchEvent(new Event('pagehide'));
    expect(freezing).toHaveBeenCalledTimes(2);
  });

  it('are none where there are no locks', () => {
    vi.stubGlobal('navigator', {});
    expect(browserTabs()).toBeUndefined();
  });
});
