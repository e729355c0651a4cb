import type { Task } from './queries';

/** One's own change is told back within this time. */
const OWN_MS = 3_000;
const GLOW_MS = 1_800;

/** Knows which cards somebody else has just changed. */
export class Sightings {
  private readonly seen = new Map<string, Task>();
  private readonly own = new Map<string, number>();
  private isFilled = false;

  /** Whether a task that is shown (again) was changed by somebody else since it was last. */
  note(task: Task): boolean {
    const before = this.seen.get(task.id);
    this.seen.set(task.id, task);
    if (before === task || (this.own.get(task.id) ?? 0) > Date.now()) return false;
    return before !== undefined || this.isFilled;
  }

  /** All tasks of a first look have been noted. */
  filled(): void {
    this.isFilled = true;
  }

  changeMyself(taskId: string): void {
    this.own.set(taskId, Date.now() + OWN_MS);
  }
}

/** Lets an element glow for a moment; the style sheet says how, and holds still if asked to. */
export function glow(element: HTMLElement): void {
  element.classList.remove('glow');
  element.getBoundingClientRect(); // what is removed and added in one go begins no animation anew
  element.classList.add('glow');
  setTimeout(() => {
    element.classList.remove('glow');
  }, GLOW_MS);
}
