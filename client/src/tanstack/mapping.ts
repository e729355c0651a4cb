import type { QueryKey } from '@tanstack/query-core';

import type { Change } from '../core/events.js';

/** What a change makes stale, by prefixes of query keys; numbers match their text. */
export interface Targets {
  /** Marked stale, and refetched where it is in use. */
  readonly invalidate?: readonly QueryKey[];
  /** Refetched at once, in use or not. */
  readonly refetch?: readonly QueryKey[];
}

/** For each resource: what a change of it makes stale. */
export type Mapping = Readonly<Record<string, (change: Change) => Targets>>;

export const defaultMapping = {
  project: ({ id }) => ({
    invalidate: [
      ['projects', 'detail', id],
      ['projects', 'list'],
    ],
  }),
  sprint: ({ id, projectId }) => ({
    invalidate: [
      ['sprints', 'detail', id],
      ['sprints', 'list', ...of(projectId)],
      ['projects', 'bundle', ...of(projectId)],
    ],
  }),
  task: ({ id, projectId }) => ({
    invalidate: [
      ['tasks', 'detail', id],
      ['tasks', 'list', ...of(projectId)],
      ['tasks', 'sprint'],
    ],
  }),
  project_members: ({ projectId }) => ({
    refetch: [
      ['projectMembers', ...of(projectId)],
      ['projects', 'bundle', ...of(projectId)],
    ],
    invalidate: [['projects', 'list']],
  }),
  message: ({ projectId }) => ({ invalidate: [['messages', 'list', ...of(projectId)]] }),
} satisfies Mapping;

/** The end of a key of a project's; a change of no project concerns the lists of all. */
function of(projectId: string | null): string[] {
  return projectId === null ? [] : [projectId];
}

/** Whether a key begins with a prefix, as TanStack Query has it, but `7` and `'7'` are the same. */
export function startsWith(key: unknown, prefix: unknown): boolean {
  if (key === prefix) return true;
  if (isText(key) && isText(prefix)) return String(key) === String(prefix);
  if (!isRecord(key) || !isRecord(prefix)) return false;
  return Object.keys(prefix).every((name) => startsWith(key[name], prefix[name]));
}

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/**
 * Whether a query may hold something of a project: unless its key names another one and not it.
 * Only a UUID names a project for sure; a number may be anything's.
 */
export function mayBeOf(key: QueryKey, projectId: string, others: ReadonlySet<string>): boolean {
  if (names(key, projectId)) return true;
  return ![...others].some((id) => UUID.test(id) && names(key, id));
}

function names(key: unknown, id: string): boolean {
  if (isText(key)) return String(key) === id;
  return isRecord(key) && Object.values(key).some((part) => names(part, id));
}

function isText(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
