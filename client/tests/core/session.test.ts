import { describe, expect, it } from 'vitest';

import { backoffMs } from '../../src/core/backoff.js';
import { change, connected, messages, Script } from './script.js';

const ASK = { do: 'ask_token' };

describe('back-off', () => {
  it.each([
    [0, 1_000],
    [1, 2_000],
    [4, 16_000],
    [5, 30_000],
    [2_000, 30_000],
  ])('try %i waits for less than %i ms, evenly spread', (tries, longest) => {
    expect(backoffMs(tries, 0)).toBe(0);
    expect(backoffMs(tries, 0.5)).toBe(longest / 2);
  });

  it('grows with each failed try, without a limit of them', () => {
    const script = new Script();
    script.want('P');
    const waits = Array.from({ length: 50 }, () => {
      script.token();
      script.closed(1006);
      const waited = script.timerMs;
      script.expire();
      return waited;
    });
    expect(waits.slice(0, 7)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
    expect(waits[49]).toBe(15_000);
    expect(script.status).toBe('degraded');
  });

  it('gives up after so many tries, until the network, the user or a new project comes', () => {
    const script = new Script({}, 2);
    const giveUp = (): void => {
      for (let tries = 0; tries < 2; tries++) {
        script.token();
        script.closed(1006);
        if (tries === 0) script.expire();
      }
      expect(script.status).toBe('offline');
      expect(script.timerMs).toBeUndefined();
    };
    script.want('P');
    giveUp();
    expect(script.feed({ is: 'online' })).toContainEqual(expect.objectContaining(ASK));
    giveUp();
    expect(script.feed({ is: 'visible' })).toContainEqual(expect.objectContaining(ASK));
    giveUp();
    expect(script.want('Q')).toContainEqual(expect.objectContaining(ASK));
  });

  it('is reset only by a socket that stayed open for a while', () => {
    const script = new Script().connect(['P']);
    script.now += 9_999;
    script.closed(1006);
    expect(script.timerMs).toBe(500);
    script.expire();
    script.token();
    script.frame(connected(['P']));
    script.closed(1006);
    expect(script.timerMs).toBe(1_000);
    script.expire();
    script.token();
    script.frame(connected(['P']));
    script.now += 10_000;
    script.closed(1006);
    expect(script.timerMs).toBe(500);
  });

  it('is left at once when the network or the user is back', () => {
    for (const input of [{ is: 'online' }, { is: 'visible' }] as const) {
      const script = new Script();
      script.want('P');
      script.token();
      script.closed(1006);
      expect(script.feed(input)).toContainEqual(expect.objectContaining(ASK));
    }
  });
});

describe('the app', () => {
  it('disconnects: nothing is tried until it connects, which resumes', () => {
    const script = new Script().connect(['P']);
    expect(script.feed({ is: 'disconnect' })).toContainEqual({ do: 'close' });
    expect(script.status).toBe('offline');
    script.want('P', 'Q');
    script.feed({ is: 'visible' });
    script.feed({ is: 'online' });
    expect(script.effects.some((effect) => effect.do === 'ask_token')).toBe(false);
    script.feed({ is: 'connect' });
    expect(script.status).toBe('connecting');
    expect(script.token().getAll('since')).toEqual(['user:U@1', 'project:P@1']);
    expect(messages(script.frame(connected(['P'])))).toMatchObject([{ project_id: 'Q' }]);
  });

  it('connects after the last try; otherwise that changes nothing', () => {
    const script = new Script({}, 1);
    script.want('P');
    expect(script.feed({ is: 'connect' })).toEqual([]);
    script.token();
    script.closed(1006);
    expect(script.status).toBe('offline');
    expect(script.feed({ is: 'connect' })).toContainEqual(expect.objectContaining(ASK));
    script.token();
    script.frame(connected(['P']));
    expect(script.feed({ is: 'connect' })).toEqual([]);
  });

  it('reconnects at once, with a new token, and asks for refused projects again', () => {
    const script = new Script().connect(['P', 'Q']);
    script.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'Q' });
    const effects = script.feed({ is: 'reconnect' });
    expect(effects).toContainEqual({ do: 'close' });
    expect(effects).toContainEqual(expect.objectContaining({ ...ASK, refresh: true }));
    expect(script.session.status('Q')).toBe('connecting');
    script.token();
    expect(messages(script.frame(connected(['P'])))).toMatchObject([{ project_id: 'Q' }]);
  });

  it('reconnects after 4400, with the projects that it had', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.closed(4400);
    script.feed({ is: 'reconnect' });
    expect(script.token().get('project_id')).toBe('P');
  });

  it('sees why and when it is tried again', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.closed(1006);
    expect(script.session.lastError).toBe('closed with 1006');
    expect(script.session.nextAttemptAt).toBe(script.now + 500);
    script.expire();
    expect(script.session.nextAttemptAt).toBeUndefined();
    script.token();
    script.expire();
    expect(script.session.lastError).toBe('no answer');
    script.expire();
    script.token();
    script.frame(connected(['P']));
    expect(script.session.lastError).toBeUndefined();
  });
});

describe('heartbeat', () => {
  it('pings after so many silent seconds, and takes silence for death', () => {
    const script = new Script().connect(['P']);
    script.frame(change('P', 2));
    expect(script.timerMs).toBe(30_000);
    expect(messages(script.expire())).toEqual([{ type: 'ping' }]);
    expect(script.timerMs).toBe(10_000);
    expect(script.expire()).toContainEqual({ do: 'close' });
    expect(script.status).toBe('degraded');
  });

  it('takes any frame for life', () => {
    const script = new Script().connect(['P']);
    script.expire();
    script.frame({ type: 'pong' });
    expect(script.timerMs).toBe(30_000);
    expect(messages(script.expire())).toEqual([{ type: 'ping' }]);
  });

  it('is tried at once when the network or the user is back', () => {
    const script = new Script().connect(['P']);
    expect(messages(script.feed({ is: 'visible' }))).toEqual([{ type: 'ping' }]);
    script.frame({ type: 'pong' });
    expect(messages(script.feed({ is: 'online' }))).toEqual([{ type: 'ping' }]);
  });

  it('a server that accepts and stays silent is not there', () => {
    const script = new Script();
    script.want('P');
    script.token();
    expect(script.timerMs).toBe(10_000);
    expect(script.expire()).toContainEqual({ do: 'close' });
    expect(script.timerMs).toBe(500);
  });

  it('an error before connected is no sign of life', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.frame({ type: 'error', code: 'unavailable', message: '' });
    expect(script.status).toBe('connecting');
  });
});

describe('status', () => {
  it('is degraded while the server misses changes', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'status', live: false });
    expect(script.status).toBe('degraded');
    script.frame({ type: 'status', live: true });
    expect(script.status).toBe('live');
    script.frame({ type: 'status', live: false });
    script.closed(1012);
    script.expire();
    script.token();
    script.frame(connected(['P']));
    expect(script.status).toBe('live');
  });

  it('is offline without a network, and nothing is tried until there is one', () => {
    const script = new Script();
    script.feed({ is: 'offline' });
    script.want('P');
    script.feed({ is: 'visible' });
    expect(script.status).toBe('offline');
    expect(script.effects.map((effect) => effect.do)).not.toContain('ask_token');
    expect(script.timerMs).toBeUndefined();
    expect(script.feed({ is: 'online' })).toContainEqual(expect.objectContaining(ASK));
    expect(script.status).toBe('connecting');
  });

  it('is offline when the network goes: a token that comes then opens no socket', () => {
    const script = new Script();
    script.want('P');
    script.feed({ is: 'offline' });
    script.token();
    script.feed({ is: 'no_token', ask: 1, error: 'no token' });
    expect(script.effects.map((effect) => effect.do)).not.toContain('open');
    expect(script.timerMs).toBeUndefined();
  });

  it('is offline when the network goes: a lost socket is not tried again', () => {
    const script = new Script().connect(['P']);
    script.feed({ is: 'offline' });
    expect(script.status).toBe('offline');
    script.closed(1006);
    expect(script.timerMs).toBeUndefined();
    expect(script.session.nextAttemptAt).toBeUndefined();
  });

  it('back-off ends when the network goes', () => {
    const script = new Script().connect(['P']);
    script.closed(1006);
    expect(script.timerMs).toBe(500);
    script.feed({ is: 'offline' });
    expect(script.timerMs).toBeUndefined();
  });

  it('reconnect tries even so, as the platform may be wrong', () => {
    const script = new Script();
    script.feed({ is: 'offline' });
    script.want('P');
    expect(script.feed({ is: 'reconnect' })).toContainEqual(expect.objectContaining(ASK));
    script.token();
    script.frame(connected(['P']));
    expect(script.status).toBe('live');
  });

  it('of a project that is not subscribed yet is connecting', () => {
    const script = new Script().connect(['P']);
    script.want('P', 'Q');
    expect(script.session.status('Q')).toBe('connecting');
    expect(script.session.status('none')).toBe('connecting');
  });
});

it.each([
  '',
  'x',
  '[]',
  '1',
  'null',
  '{}',
  '{"type":7}',
  '{"type":"connected"}',
  '{"type":"cache_invalidate","channel":"project:P","cursor":"project:P@9"}',
])('what is no frame (%j) is heard again on another socket', (text) => {
  const script = new Script().connect(['P']);
  expect(script.feed({ is: 'text', text })).toContainEqual({ do: 'close' });
  script.expire();
  expect(script.token().getAll('since')).toEqual(['user:U@1', 'project:P@1']);
});
