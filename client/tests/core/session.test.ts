import { describe, expect, it } from 'vitest';

import { backoffMs } from '../../src/core/backoff.js';
import { change, connected, messages, onUser, Script, stale, subscribed } from './script.js';

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

  it('starts anew only after a socket that lived for a while', () => {
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

describe('closes', () => {
  it('1012 is answered after up to a second, whatever was before', () => {
    const script = new Script().connect(['P']);
    script.random = 0.25;
    script.closed(1012);
    expect(script.timerMs).toBe(250);
    expect(script.status).toBe('connecting');
    script.expire();
    expect(script.token().get('since')).toBe('user:U@1');
  });

  it.each([1013, 4408, 4429, 1002, 1006, 4999])('%i is answered with back-off', (code) => {
    const script = new Script().connect(['P']);
    script.closed(code);
    expect(script.timerMs).toBe(500);
    expect(script.status).toBe('degraded');
  });

  it('4400 is not answered, until something else is wanted', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.closed(4400);
    expect(script.status).toBe('offline');
    expect(script.timerMs).toBeUndefined();
    expect(script.feed({ is: 'visible' })).toEqual([]);
    expect(script.want('Q')).toContainEqual(expect.objectContaining(ASK));
  });

  it('4400 before connected: it comes back without that project, and says which', () => {
    const script = new Script({ 'project:nonsense': 'n1' });
    script.want('nonsense', 'Q');
    script.token();
    const effects = script.closed(4400);
    expect(stale(effects)).toEqual(['nonsense']);
    expect(effects).toContainEqual({ do: 'warn', text: '"nonsense" is not a project' });
    expect(script.token().get('project_id')).toBe('Q');
    script.frame(connected(['Q']));
    expect(script.session.status('nonsense')).toBe('forbidden');
    expect(script.session.status('Q')).toBe('live');
    expect(script.session.cursors).not.toHaveProperty('project:nonsense');
  });

  it("4400 again and again leaves the user's own channel", () => {
    const script = new Script();
    script.want('nonsense', 'folly');
    script.token();
    script.closed(4400);
    expect(script.token().get('project_id')).toBe('folly');
    script.closed(4400);
    expect(script.token().get('project_id')).toBeNull();
    script.frame(connected([]));
    expect(script.session.status('folly')).toBe('forbidden');
    expect(script.status).toBe('live');
    expect(script.timerMs).toBe(30_000);
  });

  it('4400 without a project: none of them was why, and all may be right the next time', () => {
    const script = new Script();
    script.want('P', 'Q');
    script.token();
    script.closed(4400);
    script.token();
    script.closed(4400);
    script.token();
    script.closed(4400);
    expect(script.status).toBe('offline');
    script.want('P', 'Q', 'R');
    expect(script.token().get('project_id')).toBe('P');
  });

  it('4400 about a project that was left meanwhile', () => {
    const script = new Script();
    script.want('nonsense');
    script.token();
    script.want('Q');
    script.closed(4400);
    expect(script.token().get('project_id')).toBe('Q');
  });

  it.each([
    ['without a project', (script: Script) => (script.want(), script.token())],
    ['on a live socket', (script: Script) => script.connect(['P', 'Q'])],
  ])('4400 %s is the end', (_, begin) => {
    const script = new Script();
    begin(script);
    script.closed(4400);
    expect(script.status).toBe('offline');
    expect(script.timerMs).toBeUndefined();
  });

  it('4403 before connected: it comes back without that project', () => {
    const script = new Script({ 'project:P': 'p1' });
    script.want('P', 'Q');
    script.token();
    expect(stale(script.closed(4403))).toEqual(['P']);
    expect(script.token().get('project_id')).toBe('Q');
    expect(script.session.status('P')).toBe('forbidden');
    script.frame(connected(['Q']));
    expect(script.status).toBe('live');
    expect(script.session.cursors).not.toHaveProperty('project:P');
  });

  it('4403 on a live socket: it comes back without that project, and hears a later invitation', () => {
    const script = new Script().connect(['P']);
    expect(stale(script.closed(4403))).toEqual(['*']);
    expect(script.timerMs).toBe(500);
    script.expire();
    expect(script.token().get('project_id')).toBe('P');
    expect(stale(script.closed(4403))).toEqual(['P']);
    expect(script.token().get('project_id')).toBeNull();
    script.frame(connected([]));
    expect(script.session.status('P')).toBe('forbidden');
    const effects = script.frame(onUser('P', 'project_members', 'INSERT', 'P:U'));
    expect(messages(effects)).toMatchObject([{ type: 'subscribe', project_id: 'P' }]);
  });

  it('4403 on a live socket about a project that was left meanwhile takes no other away', () => {
    const script = new Script().connect(['P']);
    script.want('Q');
    script.closed(4403);
    expect(script.session.status('Q')).toBe('connecting');
    script.expire();
    expect(script.token().get('project_id')).toBe('Q');
    script.frame(connected(['Q']));
    expect(script.session.status('Q')).toBe('live');
  });

  it('4403 on a live socket takes away none of those that are still joining', () => {
    const script = new Script();
    script.want('P', 'Q', 'R');
    script.token();
    script.frame(connected(['P']));
    script.closed(4403);
    script.expire();
    expect(script.token().get('project_id')).toBe('P');
    script.closed(4403);
    expect(script.token().get('project_id')).toBe('Q');
    expect(messages(script.frame(connected(['Q'])))).toMatchObject([{ project_id: 'R' }]);
    script.frame(subscribed('R'));
    const statuses = ['P', 'Q', 'R'].map((id) => script.session.status(id));
    expect(statuses).toEqual(['forbidden', 'live', 'live']);
  });

  it('4403 on a live socket without a project makes the list of projects stale all the same', () => {
    const script = new Script().connect(['P']);
    script.want();
    expect(stale(script.closed(4403))).toEqual(['*']);
  });

  it('4403 about a project that was already refused: it comes back, to hear an invitation', () => {
    const script = new Script().connect(['P']);
    script.frame(onUser('P', 'project_members', 'DELETE', 'P:U'));
    script.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'P' });
    script.closed(4403);
    expect(script.timerMs).toBe(500);
    script.expire();
    expect(script.token().get('project_id')).toBeNull();
    script.frame(connected([]));
    const effects = script.frame(onUser('P', 'project_members', 'INSERT', 'P:U'));
    expect(messages(effects)).toMatchObject([{ type: 'subscribe', project_id: 'P' }]);
  });

  it('4403 about a project that was left meanwhile', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.want('Q');
    script.closed(4403);
    expect(script.token().get('project_id')).toBe('Q');
  });

  it('4403 and 4401 are no failures: no status is degraded on the way back', () => {
    const script = new Script();
    script.connect(['P', 'Q']);
    script.closed(4403);
    script.expire();
    script.token();
    script.closed(4403);
    script.token();
    script.frame(connected(['Q']));
    script.now += 10_000;
    script.closed(4401);
    script.token();
    script.frame(connected(['Q']));
    expect(script.session.status('P')).toBe('forbidden');
    const { statuses } = script;
    expect(statuses).toEqual(['connecting', 'live', 'connecting', 'live', 'connecting', 'live']);
  });

  it('again and again is a failure, whatever the code', () => {
    const script = new Script().connect(['P']);
    script.closed(4401);
    script.token();
    script.closed(4401);
    expect(script.status).toBe('degraded');
  });

  it('4403 without a project is the end', () => {
    const script = new Script();
    script.want();
    script.token();
    script.closed(4403);
    expect(script.status).toBe('forbidden');
    expect(script.timerMs).toBeUndefined();
  });
});

describe('tokens', () => {
  it('are asked for anew after 4401: at once, then with back-off', () => {
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
