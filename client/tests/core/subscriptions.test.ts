import { describe, expect, it } from 'vitest';

import {
  change,
  connected,
  events,
  messages,
  onUser,
  Script,
  stale,
  subscribed,
} from './script.js';

describe('connecting', () => {
  it('asks by age for what it has no cursor of', () => {
    const script = new Script();
    script.want('P');
    expect(script.token().toString()).toBe('project_id=P&age=60000');
  });

  it('asks by the cursors of the project and of the user', () => {
    const script = new Script({ 'project:P': 'p1', 'project:Q': 'q1', 'user:U': 'u1' });
    script.want('P', 'Q');
    const query = script.token();
    expect(query.getAll('since')).toEqual(['u1', 'p1']);
    expect(query.has('age')).toBe(false);
  });

  it('asks by both where only one has a cursor', () => {
    const script = new Script({ 'user:U': 'u1' });
    script.want('P');
    const query = script.token();
    expect(query.getAll('since')).toEqual(['u1']);
    expect(query.get('age')).toBe('60000');
  });

  it('needs no project', () => {
    const script = new Script();
    script.want();
    expect(script.token().toString()).toBe('age=60000');
  });

  it('subscribes to the projects that are not in the URL', () => {
    const script = new Script({ 'project:R': 'r1' });
    script.want('P', 'Q', 'R');
    script.token();
    expect(messages(script.frame(connected(['P'])))).toEqual([
      { type: 'subscribe', project_id: 'Q', age: 60_000 },
      { type: 'subscribe', project_id: 'R', since: 'r1' },
    ]);
  });

  it('says so when the server spells the project otherwise', () => {
    const script = new Script();
    script.want('ABC');
    script.token();
    const effects = script.frame(connected(['abc']));
    expect(effects).toContainEqual({
      do: 'warn',
      text: expect.stringContaining('"ABC"') as string,
    });
  });
});

describe('what connected says', () => {
  const cursors = { 'project:P': 'p1', 'user:U': 'u1' };

  it('of resumed channels the own place is kept, and nothing is stale', () => {
    const script = new Script(cursors);
    script.want('P');
    script.token();
    expect(stale(script.frame(connected(['P'])))).toEqual([]);
    expect(script.session.cursors).toEqual(cursors);
  });

  it('what an age was accepted for is stale as far as it is older', () => {
    const script = new Script();
    script.want('P');
    script.token();
    const asked = script.now;
    script.now += 5_000;
    const bound = String(asked - 60_000);
    expect(stale(script.frame(connected(['P'])))).toEqual([`P<${bound}`, `*<${bound}`]);
    expect(script.session.cursors).toEqual({ 'project:P': 'project:P@1', 'user:U': 'user:U@1' });
  });

  it('an age that was answered too late proves nothing', () => {
    const script = new Script({ 'user:U': 'u1' });
    script.want('P');
    script.token();
    script.now += 5_001;
    expect(stale(script.frame(connected(['P'])))).toEqual(['P']);
    expect(script.session.cursors['project:P']).toBe('project:P@1');
  });

  it('a late answer takes nothing from what a cursor proves', () => {
    const script = new Script(cursors);
    script.want('P');
    script.token();
    script.now += 5_001;
    expect(stale(script.frame(connected(['P'])))).toEqual([]);
  });

  it('a project that is not resumed is reset to its new place', () => {
    const script = new Script(cursors);
    script.want('P');
    script.token();
    expect(stale(script.frame(connected(['P'], { resumed: ['user:U'] })))).toEqual(['P']);
    expect(script.session.cursors).toEqual({ 'user:U': 'u1', 'project:P': 'project:P@1' });
  });

  it('a user channel that is not resumed resets every project, and resumes none of them', () => {
    const script = new Script({ ...cursors, 'project:Q': 'q1' });
    script.want('P', 'Q');
    script.token();
    const effects = script.frame(connected(['P'], { resumed: ['project:P'] }));
    expect(stale(effects)).toEqual(['*']);
    expect(script.session.cursors).toEqual({ 'user:U': 'user:U@1' });
    expect(messages(effects)).toEqual([
      { type: 'subscribe', project_id: 'P', age: 60_000 },
      { type: 'subscribe', project_id: 'Q', age: 60_000 },
    ]);
  });

  it("another user's cursors are forgotten", () => {
    const script = new Script({ 'user:other': 'o1', 'project:P': 'p1' });
    script.want('P');
    script.token();
    expect(stale(script.frame(connected(['P'], { resumed: ['project:P'] })))).toEqual(['*']);
    expect(Object.keys(script.session.cursors)).toEqual(['user:U']);
  });

  it('a project that the app left while it was joining is unsubscribed', () => {
    const script = new Script();
    script.want('P');
    script.token();
    script.want();
    expect(messages(script.frame(connected(['P'])))).toEqual([
      { type: 'unsubscribe', project_id: 'P' },
    ]);
  });
});

describe('projects on an open socket', () => {
  it('a project that is left keeps its place and comes back with it', () => {
    const script = new Script().connect(['P']);
    script.frame(change('P', 7));
    expect(messages(script.want('Q'))).toEqual([
      { type: 'unsubscribe', project_id: 'P' },
      { type: 'subscribe', project_id: 'Q', age: 60_000 },
    ]);
    expect(messages(script.want('P'))).toEqual([
      { type: 'unsubscribe', project_id: 'Q' },
      { type: 'subscribe', project_id: 'P', since: 'project:P@7' },
    ]);
    script.frame({ type: 'unsubscribed', project_id: 'P', reason: 'requested' });
    expect(stale(script.frame(subscribed('P', { cursor: 'project:P@7' })))).toEqual([]);
    expect(script.session.status('P')).toBe('live');
  });

  it('an own place that is repeated does not undo a newer one', () => {
    const script = new Script({ 'project:Q': 'q1' }).connect(['P']);
    script.want('P', 'Q');
    script.frame(change('Q', 5));
    script.frame(subscribed('Q', { cursor: 'q1' }));
    expect(script.session.cursors['project:Q']).toBe('project:Q@5');
  });

  it.each([
    ['not resumed', { resumed: false }, 0, 'Q'],
    ['in time', {}, 5_000, 'Q<940000'],
    ['too late', {}, 5_001, 'Q'],
  ])('a project asked for by age, %s', (_, frame, delay, expected) => {
    const script = new Script().connect(['P']);
    script.want('P', 'Q');
    script.now += delay;
    expect(stale(script.frame(subscribed('Q', frame)))).toEqual([expected]);
    expect(script.session.cursors['project:Q']).toBe('project:Q@1');
  });

  it('a subscription that the server puts off is asked for again, later each time', () => {
    const script = new Script().connect(['P']);
    script.want('P', 'Q');
    const error = { type: 'error', code: 'rate_limited', message: '', project_id: 'Q' };
    expect(script.frame(error)).toContainEqual({ do: 'timer', name: 'subscribe', ms: 500 });
    expect(messages(script.expire('subscribe'))).toEqual([
      { type: 'subscribe', project_id: 'Q', age: 60_000 },
    ]);
    expect(script.frame(error)).toContainEqual({ do: 'timer', name: 'subscribe', ms: 1_000 });
    expect(script.session.status('Q')).toBe('connecting');
  });
});

describe('changes', () => {
  it('carry what changed, and the cursors before it', () => {
    const script = new Script().connect(['P']);
    const before = script.session.cursors;
    expect(events(script.frame(change('P', 7)))).toEqual([
      {
        type: 'change',
        resource: 'task',
        id: 'T',
        action: 'UPDATE',
        projectId: 'P',
        timestamp: '2026-11-24T10:00:00.123456Z',
        channel: 'project:P',
        before,
      },
    ]);
    expect(script.session.cursors['project:P']).toBe('project:P@7');
  });

  it('keep the places of at most 200 channels, and always that of the user', () => {
    const script = new Script().connect(['P']);
    for (let place = 0; place < 300; place++) script.frame(change(`Q${String(place)}`, place));
    const channels = Object.keys(script.session.cursors);
    expect(channels).toHaveLength(200);
    expect(channels).toContain('user:U');
    expect(channels).toContain('project:Q299');
  });

  it('frames of tomorrow are ignored', () => {
    const script = new Script().connect(['P']);
    expect(events(script.frame({ type: 'new_thing', cursor: 'x' }))).toEqual([]);
    expect(script.status).toBe('live');
  });
});

describe('resets', () => {
  it('of a project take its new place', () => {
    const script = new Script().connect(['P', 'Q']);
    const effects = script.frame({
      type: 'reconnect',
      data: { reason: 'gap' },
      project_id: 'P',
      spread_ms: 2_000,
      cursors: { 'project:P': 'p9' },
    });
    expect(events(effects)).toMatchObject([{ projectId: 'P', reason: 'gap', spreadMs: 2_000 }]);
    expect(script.session.cursors).toMatchObject({ 'project:P': 'p9', 'project:Q': 'project:Q@1' });
  });

  it('of everything take the new places, and forget those of projects that were left', () => {
    const script = new Script({ 'project:left': 'l1' }).connect(['P']);
    const cursors = { 'project:P': 'p9', 'user:U': 'u9' };
    const effects = script.frame({
      type: 'reconnect',
      data: { reason: 'notify_reconnect' },
      spread_ms: 2_000,
      cursors,
    });
    expect(events(effects)).toMatchObject([{ projectId: undefined, spreadMs: 2_000 }]);
    expect(messages(effects)).toEqual([]);
    expect(script.session.cursors).toEqual(cursors);
  });

  it("of the user's channel subscribe to every project again", () => {
    const script = new Script().connect(['P']);
    const effects = script.frame({
      type: 'reconnect',
      data: { reason: 'bulk_change' },
      cursors: { 'user:U': 'u9' },
    });
    expect(stale(effects)).toEqual(['*']);
    expect(messages(effects)).toEqual([{ type: 'subscribe', project_id: 'P', age: 60_000 }]);
    expect(script.session.cursors).toEqual({ 'user:U': 'u9' });
  });
});

describe('access', () => {
  it.each([
    ['project_members', 'INSERT', 'P:U'],
    ['project_members', 'UPDATE', 'P:U'],
    ['project_members', 'DELETE', 'P:U'],
    ['project', 'INSERT', 'P'],
    ['project', 'DELETE', 'P'],
  ])(
    'an own %s %s makes all of that project stale and subscribes to it again',
    (resource, action, id) => {
      const script = new Script().connect(['P', 'Q']);
      const effects = script.frame(onUser('P', resource, action, id));
      expect(events(effects)).toMatchObject([{ type: 'change', resource }, { type: 'stale' }]);
      expect(stale(effects)).toEqual(['P']);
      expect(messages(effects)).toEqual([{ type: 'subscribe', project_id: 'P', age: 60_000 }]);
      expect(script.session.cursors).toEqual({ 'project:Q': 'project:Q@1', 'user:U': 'user:U@9' });
    },
  );

  it.each([
    ['team_members', 'INSERT', 'm1'],
    ['team_members', 'UPDATE', 'm1'],
    ['team_members', 'DELETE', 'm1'],
    ['workspace', 'INSERT', 'P'],
    ['workspace', 'DELETE', 'P'],
  ])('a marked %s %s changes access, whatever it is called', (resource, action, id) => {
    const script = new Script().connect(['P', 'Q']);
    script.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'P' });
    const effects = script.frame({ ...onUser('P', resource, action, id), access: true });
    expect(stale(effects)).toEqual(['P']);
    expect(messages(effects)).toEqual([{ type: 'subscribe', project_id: 'P', age: 60_000 }]);
    script.frame(subscribed('P'));
    expect(script.session.status('P')).toBe('live');
  });

  it('an event of theirs that is not marked changes none', () => {
    const script = new Script().connect(['P']);
    const effects = script.frame(onUser('P', 'workspace', 'UPDATE', 'P'));
    expect(events(effects)).toMatchObject([{ type: 'change', resource: 'workspace' }]);
    expect(messages(effects)).toEqual([]);
  });

  it('of a project that is not wanted only its place is forgotten', () => {
    const script = new Script({ 'project:Q': 'q1' }).connect(['P']);
    const effects = script.frame(onUser('Q', 'project', 'DELETE', 'Q'));
    expect(stale(effects)).toEqual(['Q']);
    expect(messages(effects)).toEqual([]);
    expect(script.session.cursors).not.toHaveProperty('project:Q');
  });

  it("a project's UPDATE, and others' memberships, change no access", () => {
    const script = new Script().connect(['P']);
    expect(stale(script.frame(onUser('P', 'project', 'UPDATE', 'P')))).toEqual([]);
    const other = change('P', 8, { resource: 'project_members', action: 'DELETE' });
    expect(stale(script.frame(other))).toEqual([]);
  });

  it.each([
    ['unsubscribed', { type: 'unsubscribed', project_id: 'P', reason: 'revoked' }],
    ['an error', { type: 'error', code: 'forbidden', message: '', project_id: 'P' }],
  ])('a project taken away by %s is stale with the list, and forbidden', (_, frame) => {
    const script = new Script().connect(['P', 'Q']);
    expect(stale(script.frame(frame))).toEqual(['P']);
    expect(script.session.status('P')).toBe('forbidden');
    expect(script.session.status('Q')).toBe('live');
    expect(script.status).toBe('live');
    expect(script.session.cursors).not.toHaveProperty('project:P');
  });

  it('a project whose id is malformed is forbidden, and named', () => {
    const script = new Script().connect(['P']);
    script.want('P', 'nonsense');
    const error = { type: 'error', code: 'bad_request', message: '', project_id: 'nonsense' };
    const effects = script.frame(error);
    expect(effects).toContainEqual({ do: 'warn', text: '"nonsense" is not a project' });
    expect(messages(script.expire('subscribe'))).toEqual([]);
    expect(script.session.status('nonsense')).toBe('forbidden');
    expect(script.session.status('P')).toBe('live');
  });

  it('is not asked for again by a timer that comes after the socket was lost', () => {
    const script = new Script().connect(['P']);
    script.want('P', 'Q');
    script.frame({ type: 'error', code: 'unavailable', message: '', project_id: 'Q' });
    script.closed(1006);
    expect(script.expire('subscribe')).toEqual([]);
    script.expire();
    script.token();
    expect(messages(script.frame(connected(['P'])))).toMatchObject([{ project_id: 'Q' }]);
  });

  it('what was refused is asked for again after an invitation', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'P' });
    expect(script.session.status('P')).toBe('forbidden');
    expect(script.status).toBe('live');
    const effects = script.frame(onUser('P', 'project_members', 'INSERT', 'P:U'));
    expect(messages(effects)).toEqual([{ type: 'subscribe', project_id: 'P', age: 60_000 }]);
    script.frame(subscribed('P'));
    expect(script.session.status('P')).toBe('live');
  });

  it('what was refused stays so when others come and go', () => {
    const script = new Script().connect(['P']);
    script.frame({ type: 'error', code: 'forbidden', message: '', project_id: 'P' });
    expect(messages(script.want('P', 'Q'))).toMatchObject([{ project_id: 'Q' }]);
    expect(messages(script.want('Q'))).toEqual([]);
  });

  it('an error about no project is only said', () => {
    const script = new Script().connect(['P']);
    expect(script.frame({ type: 'error', code: 'bad_request', message: 'no' })).toContainEqual({
      do: 'warn',
      text: 'bad_request: no',
    });
    expect(script.status).toBe('live');
  });
});
