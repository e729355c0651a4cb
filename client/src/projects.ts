export interface Projects {
  /** Wants a project until the function that it gives is called. Calls are counted. */
  readonly open: (projectId: string) => () => void;
  readonly wanted: () => string[];
}

/**
 * Counts who wants which project.
 *
 * @param onChange - called after the tick: a switch of projects is one change, and what is undone
 *   at once is none
 */
export function countProjects(onChange: () => void): Projects {
  const users = new Map<string, number>();

  function count(projectId: string, more: number): void {
    const others = (users.get(projectId) ?? 0) + more;
    if (others > 0) users.set(projectId, others);
    else users.delete(projectId);
    queueMicrotask(onChange);
  }

  return {
    open(projectId) {
      count(projectId, 1);
      let isOpen = true;
      return () => {
        if (isOpen) count(projectId, -1);
        isOpen = false;
      };
    },
    wanted: () => [...users.keys()],
  };
}
