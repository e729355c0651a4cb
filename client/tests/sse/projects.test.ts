import { describe, expect, it } from 'vitest';

import type { Cursors, ServerFrame } from '../../src/core/protocol.js';
import { StreamProjects } from '../../src/sse/projects.js';

type Greeting = Extract<ServerFrame, { type: 'connected' }>;

const LAST_ID = 'project:P.1,user:u.1';

function greeting(cursors: Cursors, resumed: readonly string[]): Greeting {
  return { type: 'connected', cursors, resumed, heartbeat: 30 };
}

/** As they are after the first greeting. */
function greeted(): StreamProjects {
  const projects = new StreamProjects(
    'project_id=P&since=user%3Au.0&since=project%3AP.0&age=60000',
  );
  projects.greeted(greeting({ 'project:P': 'project:P.1', 'user:u': 'user:u.1' }, []));
  return projects;
}

describe('the first request', () => {
  it('asks for what the socket would have asked for', () => {
    const projects = new StreamProjects('project_id=P&since=user%3Au.0&age=60000');
    const { query, lastEventId } = projects.request('');
    expect(query.toString()).toBe('project_id=P&age=60000');
    expect(lastEventId).toBe('user:u.0');
    const first = greeting({ 'user:u': 'user:u.1' }, []);
    expect(projects.greeted(first)).toEqual([first]);
  });

  it('may have neither a project nor a cursor', () => {
    const { query, lastEventId } = new StreamProjects('').request('');
    expect([query.toString(), lastEventId]).toEqual(['', '']);
  });
});

describe('a further request', () => {
  it('has all projects, the cursors of the stream and those of what is new', () => {
    const projects = greeted();
    projects.subscribe({ type: 'subscribe', project_id: 'Q', since: 'project:Q.7' });
    projects.subscribe({ type: 'subscribe', project_id: 'R', age: 60_000 });
    const { query, lastEventId } = projects.request(LAST_ID);
    expect(query.toString()).toBe('project_id=P&project_id=Q&project_id=R&age=60000');
    expect(lastEventId).toBe(`project:Q.7,${LAST_ID}`);
  });

  it('has no project that was released', () => {
    const projects = greeted();
    projects.subscribe({ type: 'subscribe', project_id: 'Q', since: 'project:Q.7' });
    projects.unsubscribe('Q');
    projects.unsubscribe('P');
    const { query, lastEventId } = projects.request(LAST_ID);
    expect([query.toString(), lastEventId]).toEqual(['', LAST_ID]);
  });

  it('leaves out cursors that do not fit into a header, and with them the age', () => {
    const projects = greeted();
    const long = 'x'.repeat(5_000);
    projects.subscribe({ type: 'subscribe', project_id: 'Q', since: `project:Q.${long}` });
    projects.subscribe({ type: 'subscribe', project_id: 'R', age: 60_000 });
    const { query, lastEventId } = projects.request(`project:P.${long},user:u.1`);
    expect(lastEventId).toBe(`project:P.${long},user:u.1`);
    expect(query.has('age')).toBe(false);
  });
});

describe('a further greeting', () => {
  const LIVE = { type: 'status', live: true };

  it('answers what was asked for, once', () => {
    const projects = greeted();
    projects.subscribe({ type: 'subscribe', project_id: 'Q', since: 'project:Q.7' });
    projects.subscribe({ type: 'subscribe', project_id: 'R', age: 60_000 });
    projects.subscribe({ type: 'subscribe', project_id: 'refused', age: 60_000 });
    const cursors = { 'project:P': 'p', 'project:Q': 'q', 'project:R': 'r', 'user:u': 'u' };
    const frame = greeting(cursors, ['project:P', 'project:Q', 'user:u']);
    expect(projects.greeted(frame)).toEqual([
      LIVE,
      { type: 'subscribed', project_id: 'Q', cursor: 'q', resumed: true },
      { type: 'subscribed', project_id: 'R', cursor: 'r', resumed: false },
    ]);
    expect(projects.greeted(frame)).toEqual([
      LIVE,
      {
        type: 'reconnect',
        data: { reason: 'gap' },
        project_id: 'R',
        cursors: { 'project:R': 'r' },
      },
    ]);
  });

  it('does not answer for a project that was added after it was sent', () => {
    const projects = greeted();
    projects.subscribe({ type: 'subscribe', project_id: 'Q', age: 60_000 });
    const resumed = ['project:P', 'user:u'];
    const before = greeting({ 'project:P': 'p', 'user:u': 'u' }, resumed);
    expect(projects.greeted(before)).toEqual([LIVE]);
    expect(projects.request(LAST_ID).query.toString()).toBe('project_id=P&project_id=Q&age=60000');
    const after = greeting({ ...before.cursors, 'project:Q': 'q' }, [...resumed, 'project:Q']);
    expect(projects.greeted(after)).toEqual([
      LIVE,
      { type: 'subscribed', project_id: 'Q', cursor: 'q', resumed: true },
    ]);
  });

  it('resets everything if the channel of the user could not be resumed', () => {
    const cursors = { 'project:P': 'p', 'user:u': 'u' };
    expect(greeted().greeted(greeting(cursors, []))).toEqual([
      LIVE,
      { type: 'reconnect', data: { reason: 'gap' }, cursors },
    ]);
  });
});
