import type { QueryKey } from '@tanstack/query-core';

import type { Stack } from './stack.js';

/** A project with one row of each kind. */
export class Board {
  readonly project = crypto.randomUUID();
  readonly sprint = crypto.randomUUID();
  readonly task = crypto.randomUUID();

  /** One of each key of the default mapping. */
  readonly queries: QueryKey[] = [
    ['projects', 'detail', this.project],
    ['projects', 'bundle', this.project],
    ['sprints', 'detail', this.sprint],
    ['sprints', 'list', this.project],
    ['tasks', 'detail', this.task],
    ['tasks', 'list', this.project],
    ['tasks', 'sprint', this.sprint],
    ['projectMembers', this.project],
    ['messages', 'list', this.project],
  ];
}

export const PROJECT_LIST: QueryKey = ['projects', 'list'];

/** Two users with two projects of their own: other tests on the same stack do not touch them. */
export class Scene {
  readonly owner = crypto.randomUUID();
  readonly member = crypto.randomUUID();
  readonly first = new Board();
  readonly second = new Board();
  readonly queries: QueryKey[] = [PROJECT_LIST, ...this.first.queries, ...this.second.queries];
  readonly projects = [this.first.project, this.second.project];

  constructor(private readonly stack: () => Stack) {}

  async furnish(): Promise<void> {
    const { owner, member } = this;
    for (const user of [owner, member]) {
      await this.stack().sql(`insert into users (id, name) values ($1, 'Somebody')`, user);
    }
    for (const { project, sprint, task } of [this.first, this.second]) {
      for (const [sql, ...values] of [
        [`insert into projects (id, owner_id, name) values ($1, $2, 'Board')`, project, owner],
        [`insert into sprints (id, project_id, name) values ($1, $2, 'Stage')`, sprint, project],
        [
          `insert into tasks (id, project_id, sprint_id, title) values ($1, $2, $3, 'Work')`,
          task,
          project,
          sprint,
        ],
      ] as const) {
        await this.stack().sql(sql, ...values);
      }
      for (const user of [owner, member]) await this.invite(project, user);
    }
  }

  async invite(project: string, user: string): Promise<void> {
    await this.stack().sql(
      'insert into project_members (project_id, user_id) values ($1, $2)',
      project,
      user,
    );
  }

  async remove(project: string, user: string): Promise<void> {
    await this.stack().sql(
      'delete from project_members where project_id = $1 and user_id = $2',
      project,
      user,
    );
  }

  async retitle({ task }: Board): Promise<void> {
    await this.stack().sql(`update tasks set title = title || '!' where id = $1`, task);
  }

  async rename({ sprint }: Board): Promise<void> {
    await this.stack().sql(`update sprints set name = name || '!' where id = $1`, sprint);
  }

  async sendMessage({ project }: Board): Promise<void> {
    await this.stack().sql(
      `insert into messages (project_id, user_id, body) values ($1, $2, 'Go')`,
      project,
      this.owner,
    );
  }
}
