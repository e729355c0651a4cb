import type { Task } from './queries';

const GLOW_MS = 1_800;

/** Detects which tasks another user has just changed. */
export class Sightings {
  private readonly seen = new Map<string, string>();
  private readonly created = new Set<string>();
  private isLoaded = false;

  /**
   * Record a rendered task; return whether another user changed it since the last render.
   *
   * @param isOwnChange - the task is shown with a change of this user's own
   */
  recordSeen(task: Task, isOwnChange: boolean): boolean {
    const before = this.seen.get(task.id);
    const shown = JSON.stringify(task);
    this.seen.set(task.id, shown);
    if (before === undefined) return this.isLoaded && !this.created.has(task.id);
    return before !== shown && !isOwnChange;
  }

  /** Mark the first load as complete: a task that appears later is new. */
  markLoaded(): void {
    this.isLoaded = true;
  }

  recordCreated(taskId: string): void {
    this.created.add(taskId);
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
