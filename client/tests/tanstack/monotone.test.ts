import { MutationObserver, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { seeded } from '../seeded.js';
import { pass } from '../world.js';
import { Board } from './board.js';
import { TASK } from './edits.js';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** One row that several people edit, under random delays; the values are its versions. */
class SharedRow {
  readonly shown: number[] = [];
  readonly problems: string[] = [];
  private version = 1;
  private heard = 1;
  private read: number | undefined;
  private readonly edits = new Set<{ version?: number; isAlone: boolean; respond: () => void }>();
  private chainBegan = 0;
  /** The newest version of an edit that has succeeded. */
  private saved = 0;

  constructor(
    private readonly board: Board,
    private readonly random: () => number,
  ) {
    new QueryObserver<number>(board.client, { queryKey: TASK }).subscribe(({ data }) => {
      if (data !== undefined && data !== this.shown.at(-1)) this.show(data);
    });
  }

  /** An optimistic value has a fraction. */
  private show(value: number): void {
    const newest = Math.floor(Math.max(0, ...this.shown));
    if (value < newest) this.problems.push(`${value} after ${newest}`);
    const isHidden = [...this.edits].some(({ version = Infinity }) => value < version);
    if ((isHidden || value < this.saved) && Number.isInteger(value))
      this.problems.push(`${value} hides an edit`);
    this.shown.push(value);
  }

  private edit(): void {
    if (this.edits.size === 0) this.chainBegan = Date.now();
    if (Date.now() - this.chainBegan > 3_000) return;
    const { client } = this.board;
    const isAlone = this.edits.size === 0;
    for (const other of this.edits) other.isAlone = false;
    const edit: typeof this.edits extends Set<infer Edit> ? Edit : never = {
      isAlone,
      respond: () => undefined,
    };
    const mutation = new MutationObserver(client, {
      mutationFn: () => new Promise<void>((resolve) => (edit.respond = resolve)),
      onMutate: () => {
        client.setQueryData<number>(TASK, (old) => old && Math.floor(old) + 0.5);
      },
      onSuccess: () => {
        this.edits.delete(edit);
        this.saved = Math.max(this.saved, edit.version ?? 0);
        if (edit.isAlone && this.random() < 0.5) client.setQueryData(TASK, edit.version);
      },
    });
    this.edits.add(edit);
    void mutation.mutate();
  }

  /** Let the edits succeed. */
  private respond(): void {
    for (const edit of this.edits) {
      edit.version ??= this.version += 1;
      edit.respond();
    }
  }

  step(): void {
    // Refetches wait for 5 s.
    if (Date.now() - this.chainBegan > 4_000) this.respond();
    const [edit] = [...this.edits].sort(() => this.random() - 0.5);
    const choices = [
      () => (this.version += 1),
      () => {
        if (this.heard < this.version) this.board.socket.change('P', (this.heard += 1));
      },
      () => {
        this.edit();
      },
      () => {
        if (edit) edit.version ??= this.version += 1;
      },
      () => {
        if (edit?.version !== undefined) edit.respond();
      },
      () => {
        if (this.board.requests.length > 0) this.read ??= this.version;
      },
      () => {
        if (this.read !== undefined) void this.answer(this.read);
      },
      () => {
        this.board.requests.shift()?.fail();
        this.read = undefined;
      },
    ];
    choices[Math.floor(this.random() * choices.length)]?.();
  }

  private answer(version: number): Promise<unknown> {
    this.read = undefined;
    return this.board.answer(version);
  }

  async settle(): Promise<void> {
    this.respond();
    while (this.heard < this.version) this.board.socket.change('P', (this.heard += 1));
    for (let round = 0; round < 60; round += 1) {
      if (this.board.requests.length > 0) await this.answer(this.version);
      await pass(1_000);
    }
    if (this.board.data(TASK) !== this.version) this.problems.push('stale');
  }
}

it('no older value follows a newer one, and none hides an edit', { timeout: 60_000 }, async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = seeded(seed);
    const board = await Board.open();
    const row = new SharedRow(board, random);
    await board.answer(1);
    for (let step = 0; step < 300; step += 1) {
      row.step();
      await pass(Math.floor(random() * 60));
    }
    await row.settle();
    expect(row.problems, `seed ${seed}: ${row.shown.join(' ')}`).toEqual([]);
    board.disconnect();
    board.connection.close();
    board.client.clear();
  }
});
