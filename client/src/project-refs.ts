export interface ProjectRefs {
  /** Adds a reference to a project; the returned function releases it. */
  readonly open: (projectId: string) => () => void;
  /** The projects with at least one reference. */
  readonly wanted: () => string[];
}

/**
 * Ref-counts the open projects.
 *
 * @param onChange - called in a microtask after each change, so that a switch from one project to
 *   another has both effects at once; the set of projects may be unchanged
 */
export function countProjectRefs(onChange: () => void): ProjectRefs {
  const counts = new Map<string, number>();

  function count(projectId: string, change: number): void {
    const refs = (counts.get(projectId) ?? 0) + change;
    if (refs > 0) counts.set(projectId, refs);
    else counts.delete(projectId);
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
    wanted: () => [...counts.keys()],
  };
}
