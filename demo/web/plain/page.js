import { QueryClient, QueryObserver } from '@tanstack/query-core';

import { PlainClient } from './plain-client.js';

const MOST_LINES = 20;
const POLL_MS = 30_000;
const queryClient = new QueryClient({
  // A failed fetch is repeated until it succeeds: no other event may ever name what it missed.
  defaultOptions: { queries: { staleTime: Infinity, retry: (_, error) => !error.isFinal } },
});
queryClient.mount(); // for `refetchOnWindowFocus`
const element = (id) => document.getElementById(id);

const TEXTS = { 401: 'Sign in on the board first', 403: 'You are not in this project' };

class Refused extends Error {
  constructor(status) {
    super(TEXTS[status] ?? `The server answered ${status}`);
    this.isFinal = status in TEXTS;
  }
}

async function request(path, signal) {
  const response = await fetch(`/api${path}`, { signal });
  if (!response.ok) throw new Refused(response.status);
  return response.json();
}

function line(text) {
  const item = document.createElement('li');
  item.textContent = text;
  return item;
}

function showProblem(error) {
  element('problem').textContent = error?.message;
  element('problem').hidden = !error;
}

async function invalidate(keys, reason) {
  element('events').prepend(
    line(keys ? keys.map((key) => key.join(' ')).join(', ') : `everything (${reason})`),
  );
  element('events').children[MOST_LINES]?.remove();
  for (const queryKey of keys ?? [[]]) {
    // An invalidation during a query's first fetch is forgotten (TanStack/query #8530).
    await queryClient.cancelQueries({ queryKey });
    void queryClient.invalidateQueries({ queryKey });
  }
}

function watchTasks(projectId) {
  const options = {
    queryKey: ['tasks', 'list', projectId],
    queryFn: ({ signal }) => request(`/projects/${projectId}/tasks`, signal),
  };
  const tasks = new QueryObserver(queryClient, options);
  tasks.subscribe(({ data = [], failureReason }) => {
    showProblem(failureReason);
    const shown = failureReason?.isFinal ? [] : data;
    element('tasks').replaceChildren(
      ...shown.map(({ title, status }) => line(`${title}: ${status}`)),
    );
  });
  /** While changes are missed, nothing that is fetched stays fresh. */
  return (isLive) => {
    element('outdated').hidden = isLive;
    tasks.setOptions({
      ...options,
      refetchInterval: isLive ? false : POLL_MS,
      refetchOnWindowFocus: isLive ? false : 'always',
    });
  };
}

try {
  const { gateway_port } = await request('/session');
  const projects = await request('/projects');
  const projectId = new URLSearchParams(location.search).get('project') ?? projects[0]?.id;
  if (!projectId) throw new Error('You are in no project: create one on the board');
  const setLive = watchTasks(projectId);
  const url = new URL('/api/v1/messages/ws', location.href);
  url.port = gateway_port;
  const onState = (state) => {
    element('said').textContent = state;
    setLive(state === 'live');
  };
  const client = new PlainClient({ url: url.href, invalidate, onState });
  client.connect(projectId);
  addEventListener('online', () => client.retry());
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') client.retry();
  });
} catch (error) {
  element('said').textContent = 'not connected';
  showProblem(error);
}
