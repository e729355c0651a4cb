import type { Task } from './queries';

/** The event of the user's own change arrives within this time. */
const OWN_CHANGE_MS = 3_000;
const GLOW_MS = 1_800;

/** Detects which tasks another user has just changed. */
export class Sightings {
  private readonly seen = new Map<string, Task>();
  private readonly ownChanges = new Map<string, number>();
  private isLoaded = false;

  /** Record a rendered task; return whether another user changed it since the last render. */
  recordSeen(task: Task): boolean {
    const before = this.seen.get(task.id);
    this.seen.set(task.id, task);
    if (before === task || (this.ownChanges.get(task.id) ?? 0) > Date.now()) return false;
    return before !== undefined || this.isLoaded;
  }

  /** Mark the first load as complete: a task that appears later is new. */
  markLoaded(): void {
    this.isLoaded = true;
  }

  recordOwnChange(taskId: string): void {
    this.ownChanges.set(taskId, Date.now() + OWN_CHANGE_MS);
  }
}

/** Highlight an element briefly; the style sheet honors `prefers-reduced-motion`. */
export function glow(element: HTMLElement): void {
  element.classList.remove('glow');
  element.getBoundingClientRect(); // force a reflow, which restarts the animation
  element.classList.add('glow');
  setTimeout(() => {
    element.classList.remove('glow');
  }, GLOW_MS);
}
