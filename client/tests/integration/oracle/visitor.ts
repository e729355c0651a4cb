import { setTimeout as sleep } from 'node:timers/promises';

import { CancelledError, type QueryClient, type QueryKey } from '@tanstack/query-core';

import { persistQueryClient, type Persistence } from '../../../src/persist/index.js';
import { nameOf, Page } from '../page.js';
import type { Proxy } from '../proxy.js';
import { PROJECT_LIST } from '../scene.js';
import type { Stack } from '../stack.js';
import { BrowserStorage } from './browser-storage.js';
import type { Chance } from './chance.js';
import type { Data } from './data.js';
import { isIntended, LATENCY_MS, startEdit, type EditOptions } from './edits.js';
import { Screen, type Mark, type Row } from './screen.js';

/** Longer than any mutation takes on a machine under load. */
const MAX_DEFER_MS = 60_000;
/** Of those who poll. */
export const POLL_MS = 1_000;
/** At most so late a query cache is bound. */
const LATE_MS = 2_000;

export interface World extends Data {
  readonly stack: Stack;
  readonly chance: Chance;
  readonly count: (what: string, by?: number) => void;
  /** Takes down what nobody may ever see. */
  readonly blame: (fault: string) => void;
}

export interface VisitorOptions {
  readonly proxy: Proxy;
  /** Its query cache receives no events: the oracle must catch it. */
  readonly isDeaf?: boolean;
  /** Its browser stores the cache, and users of it change. */
  readonly hasStorage?: boolean;
  readonly polls?: boolean;
}

/** A browser, with somebody who looks at this and that. */
export class Visitor {
  page!: Page;
  private static visitors = 0;
  private readonly number = (Visitor.visitors += 1);
  private readonly looksAt = new Map<string, QueryKey[]>();
  private readonly storage: BrowserStorage | undefined;
  /** What takes a while. */
  private readonly pending = new Set<Promise<void>>();
  private persistence: Persistence | undefined;
  private screen!: Screen;
  private isBound = false;
  /** Its page is being loaded. */
  isChanging = false;
  /** A second query cache of the app. */
  private second: Page | undefined;
  private isVisible = true;

  constructor(
    private readonly world: World,
    private readonly options: VisitorOptions,
  ) {
    if (options.hasStorage) this.storage = new BrowserStorage(world.blame);
  }

  /** Somebody signs in, perhaps without a reload of the page. */
  async signIn(
    user = this.world.chance.pick(this.world.users),
    client?: QueryClient,
  ): Promise<void> {
    this.screen = this.newScreen(user, () => this.page);
    this.page = this.newPage(user, this.screen, client);
    if (this.storage) {
      this.storage.user = user;
      this.persistence = persistQueryClient({
        queryClient: this.page.client,
        storage: this.storage,
        userId: user,
        schemaVersion: 1,
        // Other visitors are other browsers.
        key: `browser ${this.number}`,
      });
      await this.persistence.restored;
    }
    this.page.setVisible(this.isVisible);
    this.connect();
    if (this.looksAt.size === 0) this.enter();
  }

  async step(): Promise<void> {
    if (this.isChanging) return;
    this.world.count('steps');
    await this.world.chance.pickWeighted<() => unknown>([
      [6, () => this.show()],
      [
        4,
        () => {
          this.hide();
        },
      ],
      [2, () => this.prefetch()],
      [4, () => this.edit()],
      [
        2,
        () => {
          this.leave();
        },
      ],
      [
        2,
        () => {
          this.enter();
        },
      ],
      [
        1,
        () => {
          this.connectAgain();
        },
      ],
      [
        2,
        () => {
          this.setVisible(this.world.chance.is(0.5));
        },
      ],
      [
        2,
        () => {
          this.bindAgain();
        },
      ],
      [2, () => this.toggleSecond()],
      [
        this.storage ? 3 : 0.2,
        () => {
          this.change();
        },
      ],
    ])();
  }

  async show(): Promise<void> {
    const projectId = this.world.chance.pick([...this.looksAt.keys()]);
    const queryKey = await this.someQuery(projectId);
    const shown = this.looksAt.get(projectId);
    if (!shown || shown.length > 3 || this.isChanging) return;
    shown.push(queryKey);
    this.page.show(queryKey);
  }

  setVisible(isVisible: boolean): void {
    this.isVisible = isVisible;
    this.page.setVisible(isVisible);
  }

  /** The data of its projects that is on the screen or not marked as stale. */
  beliefs(): { queryKey: QueryKey; data: unknown }[] {
    return this.pages()
      .flatMap(({ client }) => client.getQueryCache().getAll())
      .filter((query) => query.queryKey[0] !== 'neverstale')
      .filter((query) => {
        const isKnown = query.isStaleByTime(Infinity);
        // A blocked socket leaves TanStack's own rules: what is used is fetched.
        if (this.isBlocked) return query.isActive();
        return !isKnown || (this.isVisible && query.isActive());
      })
      .map(({ queryKey, state }) => ({ queryKey, data: state.data }));
  }

  /** Whether data is what the database has; a response that was written is as good as an answer. */
  isTrue(data: unknown, rows: readonly object[]): boolean {
    const drop = (_: string, value: unknown): unknown =>
      (value as Mark | null)?.is === 'response' ? undefined : value;
    const { user } = this.page;
    return (
      JSON.stringify(data, drop) === JSON.stringify(rows.map((row) => ({ ...row, reader: user })))
    );
  }

  /** Whether it is promised to be fresh. */
  isOf(queryKey: QueryKey, truth: unknown): boolean {
    if (nameOf(queryKey) === nameOf(PROJECT_LIST)) return true;
    const rows = truth as { project_id?: string }[];
    const projectIds = [...queryKey, ...rows.map((row) => row.project_id)];
    return [...this.looksAt.keys()].some((projectId) => projectIds.includes(projectId));
  }

  /** Refetch the queries that have only an error to show, as a user would. */
  tryAgain(): void {
    for (const { client } of this.pages()) {
      void client.refetchQueries({
        type: 'active',
        predicate: ({ state }) => state.status === 'error' && state.data === undefined,
      });
    }
  }

  /** An optimistic change that fails. Nothing is committed, so no event follows. */
  failToSave(): void {
    const [row] = this.shownTasks();
    if (row?.id !== undefined) this.mutate(row.id, { isOptimistic: true, failsAt: 0 });
  }

  /** A change of one's own that is sure to succeed. */
  async save(): Promise<void> {
    const write = (): Promise<unknown> =>
      this.world.stack.sql(
        'update tasks set title = $2 where project_id = $1',
        this.page.projects[0] ?? null,
        'saved',
      );
    // A mutation only affects queries of the same query client.
    await Promise.all(this.pages().map((page) => page.mutate(write)));
  }

  get isBlocked(): boolean {
    return this.options.proxy.isCut;
  }

  get polls(): boolean {
    return this.options.polls ?? false;
  }

  get isSettled(): boolean {
    const { connection, projects: open } = this.page;
    const isLive = open.every((projectId) => connection.status(projectId) === 'live');
    const isIdle = this.pages().every(
      ({ client }) => client.isFetching() + client.isMutating() === 0,
    );
    const isCaughtUp = this.isBlocked || (isLive && (!this.isVisible || this.lateQueries() === 0));
    return this.pending.size === 0 && isIdle && isCaughtUp;
  }

  /** Why it may not be settled. */
  describe(): object {
    const { connection, projects: open } = this.page;
    return {
      statuses: [connection.status(), ...open.map((projectId) => connection.status(projectId))],
      info: connection.info(),
      pending: this.pending.size,
      fetching: this.pages().map(({ client }) => client.isFetching()),
      mutating: this.pages().map(({ client }) => client.isMutating()),
      late: this.lateQueries(),
      isVisible: this.isVisible,
      isBlocked: this.isBlocked,
      errors: this.pages().flatMap(({ client }) =>
        client
          .getQueryCache()
          .findAll({ predicate: ({ state }) => state.status === 'error' })
          .map(({ queryKey, state }) => `${nameOf(queryKey)}: ${String(state.error)}`),
      ),
    };
  }

  /** Its tab is closed. */
  close(): void {
    this.endSecond();
    this.persistence?.stop();
    this.endConnection();
    this.page.close();
  }

  private pages(): Page[] {
    return this.second ? [this.page, this.second] : [this.page];
  }

  /** On the screen and known to be stale. */
  private lateQueries(): number {
    return this.pages()
      .flatMap(({ client }) => client.getQueryCache().findAll({ type: 'active' }))
      .filter((query) => query.isStaleByTime(Infinity)).length;
  }

  private newScreen(user: string, page: () => Page): Screen {
    const isSteady = (): boolean => {
      const { client } = page();
      return this.isBound && client.isFetching() + client.isMutating() === 0;
    };
    return new Screen(user, isSteady, this.world.blame);
  }

  private newPage(user: string, screen: Screen, client?: QueryClient): Page {
    const { chance, stack } = this.world;
    return new Page(stack, {
      url: this.options.proxy.url,
      user,
      // The others choose by themselves, which they do while the gateways are away.
      connection: { sse: this.number % 2 === 0 || undefined },
      // Pauses between tries are as in life, but shorter.
      random: () => chance.random() * 0.3,
      latencyMs: LATENCY_MS,
      maxDeferMs: MAX_DEFER_MS,
      ...(this.options.polls === undefined ? {} : { pollMs: this.options.polls && POLL_MS }),
      ...(client && { client }),
      label: (answer) => (answer as Row[]).map((row) => ({ ...row, reader: user })),
      onShown: (queryKey, data) => {
        screen.show(queryKey, data);
      },
    });
  }

  private connect(isBound = true): void {
    if (this.options.isDeaf) return;
    this.page.connect(isBound);
    for (const projectId of this.looksAt.keys()) this.page.enter(projectId);
    this.isBound = isBound;
  }

  /** Something that takes a while; it ends before the round is judged. */
  private later(act: () => Promise<void>): void {
    const done = act()
      .catch((error: unknown) => {
        this.world.blame(`failed: ${String(error)}`);
      })
      .finally(() => this.pending.delete(done));
    this.pending.add(done);
  }

  private hide(): void {
    const gone = this.world.chance.pick([...this.looksAt.values()]).pop();
    const isLeft = [...this.looksAt.values()].flat().some((key) => key === gone);
    if (gone && !isLeft) this.page.hide(gone);
  }

  private async prefetch(): Promise<void> {
    const queryKey = await this.someQuery(this.world.chance.pick([...this.looksAt.keys()]));
    await this.page.client.query({ queryKey }).catch((error: unknown) => {
      // The page may be closed before the response arrives.
      if (!(error instanceof CancelledError)) this.isAway(error);
    });
  }

  /** Changes of one's own, perhaps several of a row at once. */
  private async edit(): Promise<void> {
    const { chance } = this.world;
    const shown = this.shownTasks();
    const id =
      shown.length > 0
        ? chance.pick(shown).id
        : await this.someId('tasks', chance.pick([...this.looksAt.keys()]));
    if (id === undefined || this.isChanging) return;
    for (let edits = chance.pick([1, 1, 2, 3]); edits > 0; edits -= 1) this.mutate(id);
  }

  private mutate(id: string, options: EditOptions = {}): void {
    const { page, screen, world } = this;
    startEdit(world, page, screen, id, {
      ...options,
      // The callbacks of a mutation may outlive the page, or its user.
      isOver: () => this.page !== page || this.isChanging,
    }).catch((error: unknown) => {
      if (!isIntended(error)) this.isAway(error);
    });
  }

  private shownTasks(): Row[] {
    return this.page.client
      .getQueryCache()
      .findAll({ type: 'active', queryKey: ['tasks'] })
      .flatMap(({ state }) => (state.data ?? []) as Row[]);
  }

  private enter(): void {
    const projectId = this.world.chance.pick(this.world.projects);
    if (this.looksAt.has(projectId)) return;
    this.looksAt.set(projectId, []);
    if (!this.options.isDeaf) this.page.enter(projectId);
  }

  /** What is kept of a project that nobody looks at is not kept fresh. */
  private leave(): void {
    const projectId = this.world.chance.pick([...this.looksAt.keys()]);
    if (this.looksAt.size === 1) return;
    this.page.hide(...(this.looksAt.get(projectId) ?? []));
    this.looksAt.delete(projectId);
    this.page.leave(projectId);
  }

  /** A new connection, which the query cache may be bound to only when it is live. */
  private connectAgain(): void {
    this.endSecond();
    this.endConnection();
    this.page.disconnect();
    const isBound = this.world.chance.is(0.5);
    this.connect(isBound);
    if (!isBound) this.bindLater();
  }

  /** Unbind the query cache, and bind it again later. */
  private bindAgain(): void {
    this.isBound = false;
    this.screen.pause();
    this.page.unbind();
    this.bindLater();
  }

  private bindLater(): void {
    const { page } = this;
    const { connection } = page;
    this.later(async () => {
      await sleep(this.world.chance.random() * LATE_MS);
      if (this.isChanging || this.page !== page || page.connection !== connection) return;
      page.bind();
      this.isBound = true;
    });
  }

  /** Add a second query cache, which has data before it is bound; or remove it. */
  private async toggleSecond(): Promise<void> {
    if (this.second) {
      this.endSecond();
      return;
    }
    const { page } = this;
    const second: Page = this.newPage(
      page.user,
      this.newScreen(page.user, () => second),
    );
    const queryKey = await this.someQuery(this.world.chance.pick([...this.looksAt.keys()]));
    second.show(queryKey);
    this.later(async () => {
      await sleep(this.world.chance.random() * LATE_MS);
      // If another user has signed in, this query cache has the data of the former user.
      if (this.isChanging || this.page !== page || this.second) {
        second.clear();
        return;
      }
      second.join(page);
      this.second = second;
    });
  }

  private endSecond(): void {
    this.second?.unbind();
    this.second?.clear();
    this.second = undefined;
  }

  /** Add what its connection did to the figures. */
  count(): void {
    this.world.count('sockets', this.page.sockets);
    this.world.count('streams', this.page.streams);
    this.world.count('resets', this.page.resets().length);
    this.page.sockets = this.page.streams = 0;
    this.page.events = [];
  }

  private endConnection(): void {
    this.count();
    this.isBound = false;
    this.screen.pause();
  }

  /** The page is loaded again, or the user of the browser changes. */
  private change(): void {
    this.isChanging = true;
    this.later(async () => {
      const { chance } = this.world;
      const { client, user } = this.page;
      await chance.pickWeighted<() => Promise<void>>([
        [2, () => this.open(user)],
        [3, () => this.open()],
        [2, () => this.signOut()],
        [2, () => this.signOut(client)],
      ])();
      this.isChanging = false;
      for (const queryKeys of this.looksAt.values()) this.page.show(...queryKeys);
    });
  }

  /** Opens the browser, with the user who was not signed out or another one. */
  private async open(user?: string): Promise<void> {
    this.close();
    await this.signIn(user);
  }

  /** @param client - what the next user's page goes on with, if it is not loaded again */
  private async signOut(client?: QueryClient): Promise<void> {
    this.endSecond();
    this.endConnection();
    this.page.hide(...[...this.looksAt.values()].flat());
    this.page.disconnect();
    if (this.storage) {
      this.storage.user = undefined;
      await this.persistence?.clear();
      this.storage.expectEmpty();
    } else {
      this.page.client.clear();
    }
    await this.signIn(undefined, client);
  }

  /** The app's API answers nothing while its database is away. */
  private isAway(error: unknown): void {
    if (!String(error).includes(': 503 ')) throw error;
    this.world.count('failures');
  }

  private async someId(table: 'tasks' | 'sprints', projectId: string): Promise<string | undefined> {
    const rows = await this.world.stack.sql(
      `select id from ${table} where project_id = $1 order by random() limit 1`,
      projectId,
    );
    return (rows as { id: string }[])[0]?.id;
  }

  private async someQuery(projectId: string): Promise<QueryKey> {
    const { chance } = this.world;
    const table = chance.pick(['tasks', 'sprints', undefined, undefined] as const);
    const id = table && (await this.someId(table, projectId));
    if (table !== undefined && id !== undefined) {
      return table === 'sprints' && chance.is(0.5)
        ? ['tasks', 'sprint', id]
        : [table, 'detail', id];
    }
    return chance.pick([
      PROJECT_LIST,
      ['projects', 'detail', projectId],
      ['projects', 'bundle', projectId],
      ['sprints', 'list', projectId],
      ['tasks', 'list', projectId],
      ['projectMembers', projectId],
      ['messages', 'list', projectId],
    ]);
  }
}
