import { QueryClient, QueryObserver } from '@tanstack/query-core';

import { PlainClient } from './plain-client.js';

const MOST_LINES = 20;
const queryClient = new QueryClient({ defaultOptions: { queries: { staleTime: Infinity } } });
const element = (id) => document.getElementById(id);

async function request(path, signal) {
  const response = await fetch(`/api${path}`, { signal });
  if (!response.ok) throw new Error(`refused with ${response.status}`);
  return response.json();
}

function line(text) {
  const item = document.createElement('li');
  item.textContent = text;
  return item;
}

async function invalidate(keys) {
  element('events').prepend(
    line(keys ? keys.map((key) => key.join(' ')).join(', ') : 'everything'),
  );
  element('events').children[MOST_LINES]?.remove();
  for (const queryKey of keys ?? [[]]) {
    // An invalidation during a query's first fetch is forgotten (TanStack/query #8530).
    await queryClient.cancelQueries({ queryKey });
    await queryClient.invalidateQueries({ queryKey });
  }
}

function showTasks(projectId) {
  const tasks = new QueryObserver(queryClient, {
    queryKey: ['tasks', 'list', projectId],
    queryFn: ({ signal }) => request(`/projects/${projectId}/tasks`, signal),
  });
  tasks.subscribe(({ data = [] }) => {
    element('tasks').replaceChildren(
      ...data.map(({ title, status }) => line(`${title}: ${status}`)),
    );
  });
}

try {
  const { gateway_port } = await request('/session');
  const [{ id }] = await request('/projects');
  const projectId = new URLSearchParams(location.search).get('project') ?? id;
  showTasks(projectId);
  const url = new URL('/api/v1/messages/ws', location.href);
  url.port = gateway_port;
  const onState = (state) => (element('said').textContent = state);
  new PlainClient({ url: url.href, invalidate, onState }).connect(projectId);
} catch (error) {
  element('said').textContent = `Sign in on the board first (${error.message})`;
}
