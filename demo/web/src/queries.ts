import {
  useMutation,
  useMutationState,
  useQuery,
  type QueryClient,
  type QueryKey,
  type UseMutationResult,
  type UseQueryResult,
} from '@tanstack/react-query';
import { defaultMapping, type Mapping } from 'neverstale/tanstack';

import { listUsers, useAccount, type Account, type User } from './account';

export interface Project {
  id: string;
  name: string;
  owner_id: string;
  is_owner: boolean;
}
export interface Sprint {
  id: string;
  name: string;
}
export const STATUSES = ['todo', 'doing', 'done'] as const;
export type TaskStatus = (typeof STATUSES)[number];
export interface Task {
  id: string;
  sprint_id: string | null;
  title: string;
  status: TaskStatus;
}
export interface Member extends User {
  role: string;
}
export interface Message {
  id: string;
  user_id: string;
  name: string;
  body: string;
  created_at: string;
}
export interface Crowd {
  per_second: number;
}

/** Query keys that match the mapping. */
export const keys = {
  projects: ['projects', 'list'],
  project: (id: string) => ['projects', 'detail', id],
  sprints: (id: string) => ['sprints', 'list', id],
  tasks: (id: string) => ['tasks', 'list', id],
  members: (id: string) => ['projectMembers', id],
  messages: (id: string) => ['messages', 'list', id],
  crowd: (id: string) => ['crowd', id],
  users: ['users'],
};

/** The queries that a change makes stale. No table shows a crowd, and users are in many projects. */
export const mapping: Mapping = {
  ...defaultMapping,
  crowd: ({ projectId }) => ({ invalidate: [['crowd', projectId]] }),
  user: ({ projectId }) => ({
    invalidate: [['users'], ['projectMembers', projectId], ['messages', 'list', projectId]],
  }),
};

function useRead<T>(queryKey: QueryKey, path: string): UseQueryResult<T> {
  const account = useAccount();
  return useQuery({
    queryKey,
    queryFn: ({ signal }) => account.request<T>(path, { signal }),
  });
}

export const useProjects = (): UseQueryResult<Project[]> => useRead(keys.projects, '/projects');
export const useProject = (id: string): UseQueryResult<Project> =>
  useRead(keys.project(id), `/projects/${id}`);
export const useSprints = (id: string): UseQueryResult<Sprint[]> =>
  useRead(keys.sprints(id), `/projects/${id}/sprints`);
export const useTasks = (id: string): UseQueryResult<Task[]> =>
  useRead(keys.tasks(id), `/projects/${id}/tasks`);
export const useMembers = (id: string): UseQueryResult<Member[]> =>
  useRead(keys.members(id), `/projects/${id}/members`);
export const useMessages = (id: string): UseQueryResult<Message[]> =>
  useRead(keys.messages(id), `/projects/${id}/messages`);
export const useCrowd = (id: string): UseQueryResult<Crowd> =>
  useRead(keys.crowd(id), `/projects/${id}/crowd`);
export const useUsers = (): UseQueryResult<User[]> =>
  useQuery({ queryKey: keys.users, queryFn: listUsers });

export interface Write {
  method: 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  path: string;
  body?: unknown;
}

/** Sends a change to the server. The change's event invalidates the queries. */
export function useWrite(): UseMutationResult<unknown, Error, Write> {
  const account = useAccount();
  return useMutation({
    mutationFn: ({ method, path, body }: Write) => account.request(path, { method, body }),
  });
}

/** A change of a task that is shown before the server answers. */
export interface TaskChange {
  projectId: string;
  id: string;
  fields: Partial<Omit<Task, 'id'>>;
}

const CHANGE_TASK = ['change task'];

/** Says how changes of tasks are sent: as defaults, for those that a reload finds unsent too. */
export function setTaskChanges(queryClient: QueryClient, account: Account): void {
  queryClient.setMutationDefaults(CHANGE_TASK, {
    scope: { id: 'change task' }, // in order, so that the last one wins
    mutationFn: ({ projectId, id, fields }: TaskChange) =>
      account.request<Task>(`/projects/${projectId}/tasks/${id}`, {
        method: 'PATCH',
        body: fields,
      }),
    onSuccess: async (changed: Task, { projectId }: TaskChange) => {
      const queryKey = keys.tasks(projectId);
      await queryClient.cancelQueries({ queryKey }); // an older response would replace this one
      queryClient.setQueryData<Task[]>(queryKey, (tasks) =>
        tasks?.map((task) => (task.id === changed.id ? changed : task)),
      );
    },
  });
}

export const useChangeTask = (): UseMutationResult<Task, Error, TaskChange> =>
  useMutation({ mutationKey: CHANGE_TASK });

/** Returns the changes that the server has not answered yet. They never enter the query cache. */
export const usePendingChanges = (): TaskChange[] =>
  useMutationState({
    filters: { mutationKey: CHANGE_TASK, status: 'pending' },
    select: ({ state }) => state.variables as TaskChange,
  });
