import type { Change } from '../core/events.js';
import type { Resource } from '../resources.js';
import type { QueryKey } from './query-client.js';

/** The queries that a change makes stale, as query key prefixes; a number matches its text. */
export interface Targets {
  /** Mark as stale, and refetch the queries in use. */
  readonly invalidate?: readonly QueryKey[] | undefined;
  /** Refetch immediately, in use or not. */
  readonly refetch?: readonly QueryKey[] | undefined;
}

type MappingEntry = (change: Change) => Targets;

/** Maps resources to functions that return the queries a change makes stale. */
export type MappingEntries = Readonly<Record<string, MappingEntry>>;

/** The declared resources that the default mapping has not. */
type UnmappedResource = string extends Resource
  ? never
  : Exclude<Resource, keyof typeof defaultMapping>;

type CheckedMapping<Known extends string, Needed extends string> = Readonly<
  Record<Needed, MappingEntry> & Partial<Record<Exclude<Known, Needed>, MappingEntry>>
>;

/**
 * An app's mapping. If resources are declared (`neverstale types`): an entry for each that the
 * default mapping has not, and none for anything else.
 */
export type Mapping = string extends Resource
  ? MappingEntries
  : CheckedMapping<Resource, UnmappedResource>;

interface OptionalMapping {
  /** Entries to add to the default mapping, or that replace its entries. */
  mapping?: Mapping | undefined;
}

/** Required if a declared resource needs an entry. */
export type MappingOption = [UnmappedResource] extends [never]
  ? OptionalMapping
  : Required<OptionalMapping>;

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
      ['sprints', 'list', ...keySuffix(projectId)],
      ['projects', 'bundle', ...keySuffix(projectId)],
    ],
  }),
  task: ({ id, projectId }) => ({
    invalidate: [
      ['tasks', 'detail', id],
      ['tasks', 'list', ...keySuffix(projectId)],
      ['tasks', 'sprint'],
    ],
  }),
  project_members: ({ projectId }) => ({
    refetch: [
      ['projectMembers', ...keySuffix(projectId)],
      ['projects', 'bundle', ...keySuffix(projectId)],
    ],
    invalidate: [['projects', 'list']],
  }),
  message: ({ projectId }) => ({ invalidate: [['messages', 'list', ...keySuffix(projectId)]] }),
} satisfies MappingEntries;

/** The key suffix of a project; empty without one, so that the prefix matches all projects. */
function keySuffix(projectId: string | null): string[] {
  return projectId === null ? [] : [projectId];
}

/** Whether a key starts with a prefix, as TanStack Query defines it, but `7` equals `'7'`. */
export function startsWith(key: unknown, prefix: unknown): boolean {
  if (key === prefix) return true;
  if (isText(key) && isText(prefix)) return String(key) === String(prefix);
  if (!isRecord(key) || !isRecord(prefix)) return false;
  return Object.keys(prefix).every((name) => startsWith(key[name], prefix[name]));
}

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

/**
 * Whether a query may hold data of a project: false only if its key names another project and not
 * this one. Only a UUID counts as another project's id; a number could be the id of anything.
 */
export function mayBeOf(key: QueryKey, projectId: string, others: ReadonlySet<string>): boolean {
  if (names(key, projectId)) return true;
  return ![...others].some((id) => UUID.test(id) && names(key, id));
}

/** Whether a key contains an id. */
export function names(key: unknown, id: string): boolean {
  if (isText(key)) return String(key) === id;
  return isRecord(key) && Object.values(key).some((part) => names(part, id));
}

function isText(value: unknown): value is string | number {
  return typeof value === 'string' || typeof value === 'number';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
