import { describe, expect, it } from 'vitest';

import { connected, messages, Script } from './script.js';

describe('tokens', () => {
  it('are requested again after 4401: at once, then with back-off', () => {
    const script = new Script().connect(['P']);
    expect(script.closed(4401)).toContainEqual({ do: 'ask_token', ask: 2, refresh: true });
    script.token();
    script.closed(4401);
    expect(script.timerMs).toBe(1_000);
    expect(script.expire()).toContainEqual({ do: 'ask_token', ask: 3, refresh: true });
  });

  it('are renewed on the socket ahead of their expiry', () => {
    const script = new Script().connect(['P']);
    const asked = script.frame({ type: 'token_expiring', in: 60 });
    expect(asked).toContainEqual({ do: 'ask_token', ask: 2, refresh: true });
    expect(messages(script.feed({ is: 'token', ask: 2 }))).toEqual([{ type: 'auth' }]);
    script.frame({ type: 'auth_ok', expires_in: 3_600 });
    expect(script.status).toBe('live');
  });

  it('that come for an earlier question are not used', () => {
    const script = new Script();
    script.want('P');
    script.feed({ is: 'disconnect' });
    expect(script.feed({ is: 'token', ask: 1 })).toEqual([]);
    expect(script.feed({ is: 'no_token', ask: 1, error: 'no token' })).toEqual([]);
  });

  it('that were asked for before a 4401 are not used', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    script.closed(4401);
    expect(script.feed({ is: 'token', ask: 2 })).toEqual([]);
    expect(script.feed({ is: 'no_token', ask: 2, error: 'no token' })).toEqual([]);
    expect(script.feed({ is: 'token', ask: 3 })).toMatchObject([{}, { do: 'open' }]);
  });

  it('that can not be had are a failed try', () => {
    const script = new Script();
    script.want('P');
    script.feed({ is: 'no_token', ask: 1, error: 'no token' });
    expect(script.timerMs).toBe(500);
    expect(script.status).toBe('degraded');
  });

  it('that can not be renewed are asked for again, with back-off, before they expire', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    const waits = [2, 3, 4, 5, 6].map((ask) => {
      const [timer] = script.feed({ is: 'no_token', ask, error: 'no token' });
      expect(script.status).toBe('live');
      expect(script.session.lastError).toBe('no token');
      const [asked] = script.expire('token');
      expect(asked).toEqual({ do: 'ask_token', ask: ask + 1, refresh: true });
      return timer;
    });
    const timers = [500, 1_000, 2_000, 4_000, 8_000].map((ms) => ({
      do: 'timer',
      name: 'token',
      ms,
    }));
    expect(waits).toEqual(timers);
    expect(messages(script.feed({ is: 'token', ask: 7 }))).toEqual([{ type: 'auth' }]);
    script.frame({ type: 'auth_ok', expires_in: 3_600 });
    expect(script.session.lastError).toBeUndefined();
  });

  it.each(['unauthorized', 'token_expired'])('%s on the socket: another is asked for', (code) => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    script.feed({ is: 'token', ask: 2 });
    script.frame({ type: 'error', code, message: 'why' });
    expect(script.status).toBe('live');
    expect(script.session.lastError).toBe(`${code}: why`);
    expect(script.expire('token')).toEqual([{ do: 'ask_token', ask: 3, refresh: true }]);
  });

  it('are not asked for again once the socket is lost, nor without a network', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    script.feed({ is: 'no_token', ask: 2, error: 'no token' });
    script.feed({ is: 'offline' });
    expect(script.expire('token')).toEqual([{ do: 'timer', name: 'token', ms: 1_000 }]);
    expect(script.closed(1006)).toContainEqual({ do: 'close' });
  });
});

describe('without a user', () => {
  const INPUTS = [
    { is: 'visible' },
    { is: 'online' },
    { is: 'want', projectIds: ['Q'] },
    { is: 'connect' },
  ] as const;

  it('it is unauthorized, and nothing but reconnect tries again', () => {
    const script = new Script();
    script.want('P');
    script.feed({ is: 'no_token', ask: 1, error: undefined });
    expect(script.status).toBe('unauthorized');
    expect(script.session.status('P')).toBe('unauthorized');
    for (const input of INPUTS) expect(script.feed(input)).toEqual([]);
    expect(script.timerMs).toBeUndefined();
    expect(script.feed({ is: 'reconnect' })).toContainEqual(
      expect.objectContaining({ do: 'ask_token', refresh: true }),
    );
    script.token();
    script.frame(connected(['Q']));
    expect(script.status).toBe('live');
  });

  it('a live socket is closed', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    expect(script.feed({ is: 'no_token', ask: 2, error: undefined })).toContainEqual({
      do: 'close',
    });
    expect(script.status).toBe('unauthorized');
    expect(script.session.cursors).toHaveProperty('project:P');
  });

  it('an answer to an earlier question changes nothing', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'token_expiring', in: 60 });
    script.closed(4401);
    expect(script.feed({ is: 'no_token', ask: 2, error: undefined })).toEqual([]);
  });
});
