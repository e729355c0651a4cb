import { QueryClient, QueryObserver, type QueryKey } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { createConnection } from '../../src/index.js';
import { neverstaleDefaults } from '../../src/persist/index.js';
import { connectQueryClient } from '../../src/tanstack/index.js';
import { seeded } from '../seeded.js';
import { optionsIn, pass, World } from '../world.js';

const TEAM = 10;
const HOUR_S = 3_600;
const POLL_MS = 5_000;
const ANSWER_MS = 50;
/** So long somebody looks at a view: half a minute to three. */
const LOOKS_S = [30, 180] as const;
const TASKS = Array.from({ length: 30 }, (_, number) => `T${number}`);

const VIEWS: ((task: string) => QueryKey[])[] = [
  () => [
    ['tasks', 'list', 'P'],
    ['sprints', 'list', 'P'],
    ['projects', 'bundle', 'P'],
    ['projectMembers', 'P'],
  ],
  (task) => [
    ['tasks', 'detail', task],
    ['tasks', 'list', 'P'],
    ['projectMembers', 'P'],
  ],
  () => [
    ['messages', 'list', 'P'],
    ['projectMembers', 'P'],
  ],
  () => [['projects', 'list']],
];

/** How often what changes, of a hundred changes. */
const CHANGES = { task: 65, message: 22, sprint: 8, project_members: 4, project: 1 };

/** One of the team: what they look at depends on their number alone, not on how it is kept fresh. */
class Person {
  requests = 0;
  private readonly random: () => number;
  private readonly client: QueryClient;
  private readonly world = new World();
  private hide: (() => void)[] = [];
  private looksUntil = 0;
  private pings = 0;

  constructor(
    number: number,
    private readonly isPolling: boolean,
  ) {
    this.random = seeded(number);
    const polls = { staleTime: POLL_MS, refetchInterval: POLL_MS };
    this.client = new QueryClient({
      defaultOptions: {
        queries: {
          ...(isPolling ? polls : neverstaleDefaults.queries),
          queryFn: () => {
            this.requests += 1;
            return new Promise((resolve) => setTimeout(resolve, ANSWER_MS, this.requests));
          },
        },
      },
    });
  }

  async arrive(): Promise<void> {
    if (this.isPolling) return;
    const connection = createConnection(optionsIn(this.world, { projectId: 'P' }));
    connectQueryClient(connection, this.client);
    await pass();
    this.world.socket.connected(['P'], { resumed: ['project:P', 'user:U'] });
  }

  second(now: number): void {
    if (now >= this.looksUntil) this.look(now);
    if (this.isPolling) return;
    const pings = this.world.socket.sent.filter((sent) => 'type' in sent && sent.type === 'ping');
    for (; this.pings < pings.length; this.pings += 1) this.world.socket.frame({ type: 'pong' });
  }

  hear(place: number, resource: string, id: string): void {
    if (!this.isPolling) this.world.socket.change('P', place, resource, id);
  }

  leave(): void {
    for (const stop of this.hide) stop();
    this.client.clear();
  }

  private look(now: number): void {
    const [shortest, longest] = LOOKS_S;
    this.looksUntil = now + shortest + this.random() * (longest - shortest);
    const view = VIEWS[Math.floor(this.random() * VIEWS.length)];
    const task = TASKS[Math.floor(this.random() * TASKS.length)];
    const before = this.hide;
    this.hide = (view?.(task ?? '') ?? []).map((queryKey) =>
      new QueryObserver(this.client, { queryKey }).subscribe(() => undefined),
    );
    for (const stop of before) stop();
  }
}

/** The changes of an hour, by the second in which they happen. */
function script(changes: number): Map<number, { resource: string; id: string }[]> {
  const random = seeded(changes);
  const seconds = new Map<number, { resource: string; id: string }[]>();
  for (let number = 0; number < changes; number += 1) {
    let at = random() * 100;
    const [resource] = Object.entries(CHANGES).find(([, weight]) => (at -= weight) < 0) ?? [''];
    const id = TASKS[Math.floor(random() * TASKS.length)] ?? '';
    const second = Math.floor(random() * HOUR_S);
    seconds.set(second, [...(seconds.get(second) ?? []), { resource, id }]);
  }
  return seconds;
}

async function requestsOfAnHour(changes: number, isPolling: boolean): Promise<number> {
  const team = Array.from({ length: TEAM }, (_, number) => new Person(number, isPolling));
  await Promise.all(team.map((person) => person.arrive()));
  const seconds = script(changes);
  let place = 10;
  for (let second = 0; second < HOUR_S; second += 1) {
    for (const person of team) person.second(second);
    for (const { resource, id } of seconds.get(second) ?? []) {
      place += 1;
      for (const person of team) person.hear(place, resource, id);
    }
    await pass(1_000);
  }
  for (const person of team) person.leave();
  return team.reduce((sum, { requests }) => sum + requests, 0);
}

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

it('the requests of an hour of a team of ten', async () => {
  const text = (count: number): string => count.toLocaleString('en');
  const polling = await requestsOfAnHour(0, true);
  const rows = [
    '| changes in the hour | polling every 5 s | neverstale | saved |',
    '|---|---|---|---|',
  ];
  for (const changes of [0, 60, 300, 1_200]) {
    const ours = await requestsOfAnHour(changes, false);
    const saved = `${(100 * (1 - ours / polling)).toFixed(1)} %`;
    rows.push(`| ${text(changes)} | ${text(polling)} | ${text(ours)} | ${saved} |`);
    expect(ours).toBeLessThan(polling);
  }
  console.log(rows.join('\n'));
});
