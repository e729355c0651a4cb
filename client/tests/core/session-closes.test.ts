import { describe, expect, it } from 'vitest';

import { connected, messages, onUser, Script, stale, subscribed } from './script.js';

const ASK = { do: 'ask_token' };

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

  it('4400 about a project that the app has left is about no other', () => {
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

  it('4403 on a live socket about a project that the app has left removes no other', () => {
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

  it('4403 about a project that the app has left refuses no other', () => {
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
